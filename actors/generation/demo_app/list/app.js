"use strict";

const storageKey = `list:${location.pathname}`;
const element = (id) => document.getElementById(id);
const filterButtons = document.querySelectorAll("[data-filter]");
const filters = {
  all: { keeps: () => true, empty: "Nothing here yet. Add the first entry above." },
  open: { keeps: (entry) => !entry.done, empty: "Nothing left to do. Well done." },
  done: { keeps: (entry) => entry.done, empty: "Nothing finished yet." },
};

let filter = "all";
let entries = load() ?? [
  { text: "Try the checkbox on the left", done: true },
  { text: "Add something of your own", done: false },
  { text: "Double-click an entry to change it", done: false },
];

// Storage is closed to a page in a sandboxed frame; the list then lives as long as the page.
function load() {
  try {
    const saved = JSON.parse(localStorage.getItem(storageKey));
    return Array.isArray(saved) ? saved : null;
  } catch {
    return null;
  }
}

function save() {
  try {
    localStorage.setItem(storageKey, JSON.stringify(entries));
  } catch {
    // see load()
  }
}

function update(next) {
  entries = next;
  save();
  show();
}

function show() {
  const shown = entries.filter(filters[filter].keeps);
  const done = entries.filter((entry) => entry.done).length;
  const left = entries.length - done;
  element("entries").replaceChildren(...shown.map(row));
  element("empty").hidden = shown.length > 0;
  element("empty").textContent = filters[filter].empty;
  element("left").textContent = left === 1 ? "1 open" : `${left} open`;
  element("bar").style.width = entries.length ? `${(100 * done) / entries.length}%` : "0";
  element("clear").disabled = done === 0;
  for (const button of filterButtons) button.setAttribute("aria-pressed", String(button.dataset.filter === filter));
}

function row(entry) {
  const item = document.createElement("li");
  item.className = entry.done ? "done" : "";

  const check = document.createElement("input");
  check.type = "checkbox";
  check.checked = entry.done;
  check.setAttribute("aria-label", `Done: ${entry.text}`);
  check.addEventListener("change", () => {
    entry.done = check.checked;
    update(entries);
  });

  const text = document.createElement("span");
  text.textContent = entry.text;
  text.addEventListener("dblclick", () => edit(entry, text));

  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "✕";
  remove.setAttribute("aria-label", `Remove: ${entry.text}`);
  remove.addEventListener("click", () => update(entries.filter((other) => other !== entry)));

  item.append(check, text, remove);
  return item;
}

function edit(entry, text) {
  const field = document.createElement("input");
  field.type = "text";
  field.maxLength = 200;
  field.value = entry.text;
  field.setAttribute("aria-label", "Change the entry");
  let isOpen = true;
  const close = (keep) => {
    if (!isOpen) return;
    isOpen = false;
    if (keep && field.value.trim()) entry.text = field.value.trim();
    update(entries);
  };
  field.addEventListener("blur", () => close(true));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") close(true);
    if (event.key === "Escape") close(false);
  });
  text.replaceWith(field);
  field.focus();
}

// No form: a sandboxed frame may not submit one.
function add() {
  const text = element("text").value.trim();
  if (!text) return;
  element("text").value = "";
  filter = filter === "done" ? "all" : filter;
  update([...entries, { text, done: false }]);
}

element("add").addEventListener("click", add);
element("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter") add();
});
element("clear").addEventListener("click", () => update(entries.filter((entry) => !entry.done)));
for (const button of filterButtons) {
  button.addEventListener("click", () => {
    filter = button.dataset.filter;
    show();
  });
}
show();
