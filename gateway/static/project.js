// The project view: progress on the left, code in the middle, the preview on the right.

import { archiveUrl, deleteProject } from "./api.js";
import { CodeView } from "./code.js";
import { Connection } from "./connection.js";
import { h, oncePerFrame } from "./dom.js";
import { STATE_WORDS } from "./format.js";
import { PreviewView } from "./preview.js";
import { ProgressView } from "./progress.js";
import { pendingWishes } from "./start.js";
import { apply, emptyProject, isActive } from "./store.js";

const PANELS = { progress: "Progress", code: "Code", preview: "Preview" };

/** Fill the page; returns what to do when it is left. */
export function showProject(page, id) {
  const project = emptyProject(id);
  const code = new CodeView(project);
  const preview = new PreviewView(project);
  const progress = new ProgressView(project, {
    onWish: (description, mode) => connection.generate(description, mode),
    onStop: () => connection.cancel(),
    onDrop: (commandId) => connection.cancel(commandId),
    onFile: (path) => {
      code.choose(path);
      showPanel("code");
    },
  });
  const lost = h("p", { class: "note lost", hidden: true }, "Connecting to the service …");
  const away = h("p", { class: "note lost", role: "status", hidden: true });
  const panels = { progress: progress.element, code: code.element, preview: preview.element };
  const layout = h("div", { class: "project", "data-panel": "progress" }, ...Object.values(panels));
  const tabs = Object.entries(PANELS).map(([name, label]) =>
    h("button", { type: "button", "data-name": name, onclick: () => showPanel(name) }, label),
  );

  function showPanel(name) {
    layout.dataset.panel = name;
    for (const tab of tabs) tab.setAttribute("aria-pressed", String(tab.dataset.name === name));
  }

  const pill = h("span", { class: "pill" });
  page.title.append(h("span", { class: "title" }, id), pill);
  page.tools.append(
    h("a", { class: "quiet", href: archiveUrl(id), download: `${id}.zip` }, "Download"),
    h("button", { type: "button", class: "quiet", onclick: () => askAndDelete(id) }, "Delete"),
  );
  page.view.append(h("nav", { class: "tabs", "aria-label": "Panels" }, ...tabs), lost, away, layout);
  showPanel("progress");
  document.title = `${id} · codegen`;

  let announced = "";
  const draw = oncePerFrame(() => {
    const word = STATE_WORDS[project.state] ?? project.state;
    pill.textContent = word;
    pill.className = `pill ${isActive(project) ? "generating" : project.state}`;
    if (announced !== word) page.announcer.textContent = announced = word;
    away.hidden = project.outage === null;
    away.textContent = `The project waits for its database. ${project.outage ?? ""}`;
    progress.draw();
    code.draw();
    preview.draw();
  });

  const connection = new Connection(id, {
    onFrame: (frame) => {
      apply(project, frame);
      code.see(frame);
      draw();
    },
    onChange: (isOpen) => {
      lost.hidden = isOpen;
      project.outage = null; // the service says it again where it lasts
      draw();
    },
  });
  const wish = pendingWishes.get(id);
  if (pendingWishes.delete(id)) connection.generate(wish);
  draw();
  const stopByKey = (event) => {
    if (event.key === "Escape" && !event.isComposing && isActive(project)) connection.cancel();
  };
  addEventListener("keydown", stopByKey);
  return () => {
    removeEventListener("keydown", stopByKey);
    connection.close();
  };
}

async function askAndDelete(id) {
  if (!confirm(`Delete project ${id} with all its files?`)) return;
  try {
    await deleteProject(id);
    location.hash = "#/";
  } catch (error) {
    alert(error.message);
  }
}
