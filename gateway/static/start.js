// The start view: a wish, the projects there are, and what one should know of this service.

import { getStatus, listProjects } from "./api.js";
import { clear, h } from "./dom.js";
import { agoText, newProjectId } from "./format.js";
import { wishForm } from "./wish.js";

const IDEAS = ["a pomodoro timer", "a tip calculator", "a drum machine", "a habit tracker"];
const STATUS_WORDS = { idle: "Idle", generating: "Building", paused: "Paused", complete: "Complete", error: "Error" };

/** Wishes made here and not yet sent, by the project that they will make. */
export const pendingWishes = new Map();

/** Fill the page; returns what to do when it is left. */
export function showStart(page) {
  const notes = h("div", { class: "notes" });
  const projects = h("section", { class: "projects", "aria-label": "Projects" });
  const form = wishForm({ label: "What do you want to build?", action: "Build it", onWish: begin });
  const ideas = IDEAS.map((idea) =>
    h("button", { type: "button", class: "idea", onclick: () => form.fill(idea) }, idea),
  );
  page.view.append(
    h(
      "div",
      { class: "start" },
      h("h1", {}, "Describe an app, watch it being built, open it."),
      notes,
      form.element,
      h("p", { class: "ideas" }, "For example: ", ...ideas),
      projects,
    ),
  );
  fillNotes(notes);
  fillProjects(projects);
  form.focus();
  return () => {};
}

function begin(description) {
  const id = newProjectId(description);
  pendingWishes.set(id, description);
  location.hash = `#/p/${id}`;
}

async function fillNotes(notes) {
  const status = await getStatus().catch(() => null);
  for (const text of status ? noteTexts(status) : []) notes.append(h("p", { class: "note" }, text));
}

function noteTexts({ model, sandbox }) {
  const texts = [];
  if (model.isDemo) {
    texts.push(
      "The built-in demo model answers, with a small app of its own for every wish. " +
        "Start the service with OPENROUTER_API_KEY to have a real model build yours.",
    );
  }
  if (sandbox.note) texts.push(sandbox.note);
  return texts;
}

async function fillProjects(section, cursor) {
  let page;
  try {
    page = await listProjects(cursor);
  } catch (error) {
    const again = () => {
      clear(section);
      fillProjects(section);
    };
    const button = h("button", { type: "button", class: "quiet", onclick: again }, "Try again");
    section.append(h("p", { class: "note error" }, error.message, " ", button));
    return;
  }
  if (!cursor && page.projects.length > 0) {
    section.append(h("h2", {}, "Projects"), h("ul", { class: "cards" }));
  }
  section.querySelector("ul")?.append(...page.projects.map(card));
  if (page.nextCursor) {
    const more = h("button", { type: "button", class: "quiet" }, "Show more");
    more.onclick = () => {
      more.remove();
      fillProjects(section, page.nextCursor);
    };
    section.append(more);
  }
}

function card(project) {
  return h(
    "li",
    {},
    h(
      "a",
      { class: "card", href: `#/p/${project.id}` },
      h("span", { class: "card-wish" }, project.description || project.id),
      h(
        "span",
        { class: "card-facts" },
        h("span", { class: `pill ${project.status}` }, STATUS_WORDS[project.status] ?? project.status),
        h("span", { class: "faint" }, project.id),
        h("time", { class: "faint", datetime: project.updatedAt }, agoText(project.updatedAt)),
      ),
    ),
  );
}
