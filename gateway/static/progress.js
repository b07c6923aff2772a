// The left panel: wishes, phases with their files, the step under way, problems, the next wish.

import { clear, h } from "./dom.js";
import { sizeText } from "./format.js";
import { isActive } from "./store.js";
import { wishForm } from "./wish.js";

const LOG_LINES_SHOWN = 6;
const STEP_WORDS = {
  installing_deps: "Installing the dependencies",
  checking_build: "Checking that it builds",
  starting_server: "Starting the app",
};

export class ProgressView {
  constructor(project, { onWish, onStop, onFile }) {
    this.project = project;
    this.onFile = onFile;
    this.story = h("div", { class: "story" });
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
    const isAtEnd = story.scrollHeight - story.scrollTop - story.clientHeight < 40;
    clear(story);
    story.append(...this.wishes(), ...project.phases.map((phase) => this.phase(phase)));
    story.append(...this.step(), ...this.ending());
    if (isAtEnd) story.scrollTop = story.scrollHeight;
  }

  wishes() {
    const { descriptions, queue, isLoaded } = this.project;
    if (isLoaded && descriptions.length === 0 && queue.length === 0) {
      return [h("p", { class: "faint" }, "Nothing was asked for yet: say below what to build.")];
    }
    return [
      ...descriptions.map((text) => h("p", { class: "said" }, text)),
      ...queue.map(({ description }) =>
        h("p", { class: "said waiting" }, description, h("span", { class: "tag" }, "queued")),
      ),
    ];
  }

  phase(phase) {
    const planned = phase.files.map((file) => file.path);
    const extra = phase.finished.filter((path) => !planned.includes(path));
    return h(
      "article",
      { class: "phase" },
      h("h3", {}, h("span", { class: "faint" }, `Phase ${phase.number} `), phase.name),
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
    const { problem, refusal, notice, state, previewUrl } = this.project;
    const parts = [];
    if (notice) parts.push(h("p", { class: "note" }, notice));
    if (state === "complete") {
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
    return parts;
  }
}

function purpose(phase, path) {
  return phase.files.find((file) => file.path === path)?.purpose ?? path;
}
