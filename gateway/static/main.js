// The page's frame: the hash says which view is shown, #/ or #/p/ID.

import { clear } from "./dom.js";
import { showProject } from "./project.js";
import { showStart } from "./start.js";

const page = {
  view: document.getElementById("view"),
  title: document.getElementById("bar-title"),
  tools: document.getElementById("bar-tools"),
  announcer: document.getElementById("announcer"),
};
let leave = () => {};

function route() {
  const project = location.hash.match(/^#\/p\/([A-Za-z0-9_-]{1,64})$/);
  if (!project && location.hash === "#view") return; // the skip link
  leave();
  for (const part of [page.view, page.title, page.tools]) clear(part);
  page.announcer.textContent = "";
  document.title = "codegen";
  leave = project ? showProject(page, project[1]) : showStart(page);
}

addEventListener("hashchange", () => {
  route();
  page.view.focus({ preventScroll: true });
});
route();
