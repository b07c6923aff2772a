"use strict";

const storageKey = `board:${location.pathname}`;
const board = document.getElementById("board");
const columns = [
  { name: "Ideas", hue: "#8b5cf6", empty: "Collect a first idea." },
  { name: "In progress", hue: "#f59e0b", empty: "Nothing under way." },
  { name: "Done", hue: "#10b981", empty: "Finished cards land here." },
];

let dragged = null;
let cards = load() ?? [
  { text: "Sketch the main screen", column: 0 },
  { text: "Ask three people what they miss", column: 0 },
  { text: "Try this board", column: 1 },
  { text: "Describe the app", column: 2 },
];

// Storage is closed to a page in a sandboxed frame; the board then lives as long as the page.
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
    localStorage.setItem(storageKey, JSON.stringify(cards));
  } catch {
    // see load()
  }
}

function update(next) {
  cards = next;
  save();
  show();
}

function move(card, column) {
  card.column = column;
  update([...cards.filter((other) => other !== card), card]);
  document.getElementById("announcer").textContent = `${card.text}: ${columns[column].name}`;
}

function make(tag, properties, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function show() {
  board.replaceChildren(...columns.map(column));
}

function column({ name, hue, empty }, index) {
  const own = cards.filter((card) => card.column === index);
  const section = make(
    "section",
    { className: "card" },
    make("h2", {}, name, make("span", {}, String(own.length))),
    ...(own.length ? own.map(cardNode) : [make("p", { className: "empty" }, empty)]),
    adder(index, name),
  );
  section.style.setProperty("--hue", hue);
  section.addEventListener("dragover", (event) => {
    event.preventDefault();
    section.classList.add("over");
  });
  section.addEventListener("dragleave", () => section.classList.remove("over"));
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    if (dragged) move(dragged, index);
  });
  return section;
}

function cardNode(card) {
  const button = (label, sign, isEnabled, action) => {
    const node = make("button", { type: "button", disabled: !isEnabled, onclick: action }, sign);
    node.setAttribute("aria-label", `${label}: ${card.text}`);
    return node;
  };
  const node = make(
    "article",
    { draggable: true },
    make("p", {}, card.text),
    button("Move left", "←", card.column > 0, () => move(card, card.column - 1)),
    button("Move right", "→", card.column < columns.length - 1, () => move(card, card.column + 1)),
    button("Remove", "✕", true, () => update(cards.filter((other) => other !== card))),
  );
  node.addEventListener("dragstart", (event) => {
    dragged = card;
    node.classList.add("dragged");
    event.dataTransfer.setData("text/plain", card.text);
  });
  node.addEventListener("dragend", () => {
    dragged = null;
    node.classList.remove("dragged");
  });
  return node;
}

// No form: a sandboxed frame may not submit one.
function adder(index, name) {
  const field = make("input", { type: "text", maxLength: 160, autocomplete: "off", placeholder: "Add a card" });
  field.setAttribute("aria-label", `New card in ${name}`);
  const add = () => {
    const text = field.value.trim();
    if (!text) return;
    update([...cards, { text, column: index }]);
    board.children[index].querySelector("input").focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") add();
  });
  return make("div", { className: "add" }, field, make("button", { type: "button", onclick: add }, "Add"));
}

show();
