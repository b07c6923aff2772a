// The left panel: wishes, phases with their files, the step under way, problems, the next wish.

import { clear, h } from "./dom.js";
import { sizeText, usageText } from "./format.js";
import { isActive } from "./store.js";
import { wishForm } from "./wish.js";

const LOG_LINES_SHOWN = 6;
const STEP_WORDS = {
  installing_deps: "Installing the dependencies",
  checking_build: "Checking that it builds",
  starting_server: "Starting the app",
};

export class ProgressView {
  constructor(project, { onWish, onStop, onDrop, onFile }) {
    this.project = project;
    this.onWish = onWish;
    this.onDrop = onDrop;
    this.onFile = onFile;
    // What has buttons is drawn only when it changes: a click needs the same element twice.
    this.parts = ["wishes", "phases", "step", "ending"].map((name) => new Part(this, name));
    this.story = h("div", { class: "story" }, ...this.parts.map((part) => part.element));
    this.form = wishForm({ label: "What should change?", action: "Send", onWish });
    this.stop = h("button", { type: "button", class: "quiet", onclick: onStop }, "Stop");
    this.form.actions.prepend(this.stop);
    this.element = h(
      "section",
      { class: "panel progress", "aria-label": "Progress" },
      this.story,
      this.form.element,
    );
  }

  draw() {
    const { project, story } = this;
    this.stop.hidden = !isActive(project);
    this.form.offerModes(isActive(project));
    const isAtEnd = story.scrollHeight - story.scrollTop - story.clientHeight < 40;
    for (const part of this.parts) part.draw();
    if (isAtEnd) story.scrollTop = story.scrollHeight;
  }

  phases() {
    return this.project.phases.map((phase) => this.phase(phase));
  }

  wishes() {
    const { descriptions, queue, isLoaded } = this.project;
    if (isLoaded && descriptions.length === 0 && queue.length === 0) {
      return [h("p", { class: "faint" }, "Nothing was asked for yet: say below what to build.")];
    }
    return [
      ...descriptions.map((text) => h("p", { class: "said" }, text)),
      ...queue.map((command) => this.queued(command)),
    ];
  }

  queued({ id, description }) {
    const drop = { type: "button", class: "quiet", onclick: () => this.onDrop(id) };
    return h(
      "p",
      { class: "said waiting" },
      description,
      h("span", { class: "tag" }, "queued"),
      h("button", { ...drop, "aria-label": `Remove from the queue: ${description}` }, "Remove"),
    );
  }

  phase(phase) {
    const planned = phase.files.map((file) => file.path);
    const extra = phase.finished.filter((path) => !planned.includes(path));
    return h(
      "article",
      { class: "phase" },
      h(
        "h3",
        {},
        h("span", { class: "faint" }, `Phase ${phase.number} `),
        phase.name,
        phase.status === "failed" ? h("span", { class: "tag" }, "to be repaired") : null,
      ),
      h("p", { class: "faint" }, phase.description),
      h("ul", { class: "ticks" }, ...[...planned, ...extra].map((path) => this.tick(phase, path))),
    );
  }

  tick(phase, path) {
    const { openFile, files, phases } = this.project;
    const isOpen = openFile?.path === path && phase === phases.at(-1);
    const isFinished = phase.finished.includes(path);
    const kind = isOpen ? "busy" : isFinished ? "done" : "todo";
    const word = { busy: "being written", done: "finished", todo: "planned" }[kind];
    const size = isOpen ? openFile.size : isFinished ? files.get(path)?.size : undefined;
    const button = h(
      "button",
      { type: "button", class: "file", disabled: kind === "todo", title: purpose(phase, path) },
      h("span", { class: `mark ${kind}`, role: "img", "aria-label": word }),
      h("span", { class: "path" }, path),
      h("span", { class: "faint size" }, size === undefined ? "" : sizeText(size)),
    );
    button.onclick = () => this.onFile(path);
    return h("li", {}, button);
  }

  /** What goes on beside files: designing, waiting, installing, starting, with the newest output. */
  step() {
    const { project } = this;
    if (!isActive(project) || project.openFile) return [];
    const text =
      STEP_WORDS[project.state] ??
      (project.state === "designing_phase"
        ? `Designing phase ${project.designing || 1}`
        : "Waiting for the model");
    const lines = project.log.slice(-LOG_LINES_SHOWN).map((entry) => entry.line);
    return [
      h("p", { class: "step" }, h("span", { class: "mark busy" }), `${text} …`),
      lines.length > 0 ? h("pre", { class: "log" }, lines.join("\n")) : null,
    ].filter(Boolean);
  }

  ending() {
    const { problem, problems, refusal, notice, stopped, state, previewUrl, usage } = this.project;
    const parts = [];
    if (problems.length > 0 && !isActive(this.project)) parts.push(this.openProblems(problems));
    if (notice) parts.push(h("p", { class: "note" }, notice));
    if (stopped) parts.push(this.stoppedApp(stopped));
    if (state === "complete" && !stopped) {
      const text = previewUrl ? "The app is ready." : "The files are ready.";
      parts.push(h("p", { class: "step" }, h("span", { class: "mark done" }), text));
    }
    for (const trouble of [problem, refusal].filter(Boolean)) {
      parts.push(
        h(
          "div",
          { class: "note error", role: "alert" },
          h("p", {}, trouble.message),
          h("code", { class: "faint" }, trouble.code),
        ),
      );
    }
    if (usage.calls > 0) parts.push(h("p", { class: "faint usage" }, usageText(usage)));
    return parts;
  }

  /** Why the app answers no more, what happens next, and what it said last. */
  stoppedApp(message) {
    const [sentence, ...lines] = message.split("\n");
    const said = lines.length > 0 ? h("pre", { class: "log" }, lines.join("\n")) : null;
    return h("div", { class: "note error", role: "status" }, h("p", {}, sentence), said);
  }

  /** What is known to be wrong with the app; the next plan is told of it. */
  openProblems(problems) {
    const wish = "Fix the open problems of the app.";
    return h(
      "div",
      { class: "note error" },
      h("ul", {}, ...problems.map((text) => h("li", {}, text.split("\n")[0]))),
      h("button", { type: "button", class: "quiet", onclick: () => this.onWish(wish, "queue") }, "Fix this"),
    );
  }
}

/** A part of the story, drawn by the view's method of its name where what that shows has changed. */
class Part {
  constructor(view, name) {
    this.view = view;
    this.name = name;
    this.shown = "";
    this.element = h("div", { class: "part" });
  }

  draw() {
    const wanted = JSON.stringify(SHOWS[this.name](this.view.project));
    if (wanted === this.shown) return;
    this.shown = wanted;
    clear(this.element);
    this.element.append(...this.view[this.name]());
  }
}

const SHOWS = {
  wishes: ({ descriptions, queue, isLoaded }) => [descriptions, queue, isLoaded],
  phases: ({ phases, openFile }) => [phases, openFile?.path, openFile?.size],
  step: (project) => [
    isActive(project),
    project.state,
    project.designing,
    Boolean(project.openFile),
    project.log.slice(-LOG_LINES_SHOWN),
  ],
  ending: (project) => [
    isActive(project),
    project.state,
    project.problem,
    project.problems,
    project.refusal,
    project.notice,
    project.stopped,
    project.previewUrl,
    project.usage,
  ],
};

function purpose(phase, path) {
  return phase.files.find((file) => file.path === path)?.purpose ?? path;
}
