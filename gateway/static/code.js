// The middle panel: the list of files and the text of one, live while it is being written.

import { getFileText } from "./api.js";
import { clear, h } from "./dom.js";
import { sizeText } from "./format.js";

export class CodeView {
  constructor(project) {
    this.project = project;
    this.chosen = null; // null follows the file that is being written
    this.shown = null;
    this.written = ""; // what the text node holds
    this.isStale = true;
    this.listKey = "";
    this.problems = new Map();
    this.list = h("ul", { class: "files", "aria-label": "Files" });
    this.name = h("span", { class: "path" });
    this.follow = h(
      "button",
      { type: "button", class: "quiet", onclick: () => this.choose(null) },
      "Follow the writing",
    );
    this.text = document.createTextNode("");
    this.pane = h(
      "pre",
      { class: "text", tabindex: "0", "aria-label": "Text of the file" },
      h("code", {}, this.text),
    );
    this.element = h(
      "section",
      { class: "panel code", "aria-label": "Code" },
      this.list,
      h("div", { class: "code-head" }, this.name, this.follow),
      this.pane,
    );
  }

  choose(path) {
    this.chosen = path;
    this.draw();
  }

  /** Take note of what makes the shown text more than longer. */
  see(frame) {
    if (frame.type === "snapshot") this.problems.clear();
    if (frame.type === "snapshot" || frame.data.path === this.shown) {
      if (frame.type !== "file_chunk") this.isStale = true;
    }
  }

  draw() {
    const { project } = this;
    this.last = project.openFile?.path ?? this.last;
    const isThere = (path) => project.files.has(path) || project.openFile?.path === path;
    const looked = [this.chosen, this.last].find(isThere);
    const path = looked ?? project.files.keys().next().value ?? null;
    this.follow.hidden = this.chosen === null || !project.openFile;
    this.drawList(path);
    this.drawText(path);
  }

  drawList(path) {
    const { files, openFile } = this.project;
    const paths = [...new Set([...files.keys(), ...(openFile ? [openFile.path] : [])])].sort();
    const key = JSON.stringify([paths, path, openFile?.path, paths.map((p) => files.get(p)?.size)]);
    if (key === this.listKey) return;
    this.listKey = key;
    clear(this.list);
    this.list.append(...paths.map((each) => this.item(each, each === path)));
    this.list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  }

  item(path, isShown) {
    const { files, openFile } = this.project;
    const isOpen = openFile?.path === path;
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "file",
          "aria-current": isShown ? "true" : null,
          onclick: () => this.choose(path),
        },
        h("span", { class: `mark ${isOpen ? "busy" : "none"}` }),
        h("span", { class: "path" }, path),
        h("span", { class: "faint size" }, isOpen ? "" : sizeText(files.get(path)?.size ?? 0)),
      ),
    );
  }

  drawText(path) {
    const isOther = path !== this.shown;
    this.shown = path;
    this.name.textContent = path ?? "No files yet";
    const text = path === null ? "" : this.textOf(path);
    const isAtEnd =
      this.pane.scrollHeight - this.pane.scrollTop - this.pane.clientHeight < 60;
    if (isOther || this.isStale || text.length < this.written.length) this.text.data = text;
    else if (text.length > this.written.length) this.text.appendData(text.slice(this.written.length));
    this.written = text;
    this.isStale = false;
    const isOpen = path !== null && this.project.openFile?.path === path;
    if (isOpen && (isOther || isAtEnd)) this.pane.scrollTop = this.pane.scrollHeight;
    else if (isOther) this.pane.scrollTop = 0;
  }

  textOf(path) {
    const { openFile, texts } = this.project;
    if (openFile?.path === path) return openFile.text;
    if (this.problems.has(path)) return this.problems.get(path);
    if (!texts.has(path) && this.project.files.has(path)) this.fetch(path);
    return texts.get(path) ?? "";
  }

  /** Texts that no frame has brought are fetched when they are looked at. */
  async fetch(path) {
    const { texts } = this.project;
    texts.set(path, "Loading …");
    try {
      texts.set(path, await getFileText(this.project.id, path));
    } catch (error) {
      texts.delete(path);
      this.problems.set(path, error.message);
    }
    if (this.project.texts !== texts) return; // a snapshot came in between
    this.isStale = true;
    this.draw();
  }
}
