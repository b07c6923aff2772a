// The right panel: the app itself in a sandboxed frame, and a link that opens it.
// An app has an origin of its own: it may keep data there, and cannot reach this page.

import { h } from "./dom.js";
import { isActive } from "./store.js";

const RIGHTS =
  "allow-scripts allow-same-origin allow-forms allow-modals allow-popups allow-downloads";

export class PreviewView {
  constructor(project) {
    this.project = project;
    this.shown = "";
    this.open = h("a", { target: "_blank", rel: "noopener", class: "quiet" }, "Open in a new tab");
    this.reload = h(
      "button",
      { type: "button", class: "quiet", onclick: () => this.load() },
      "Reload",
    );
    this.empty = h("p", { class: "faint empty" });
    this.stage = h("div", { class: "stage" });
    this.element = h(
      "section",
      { class: "panel preview", "aria-label": "Preview" },
      h(
        "div",
        { class: "preview-head" },
        h("span", { class: "panel-name" }, "Preview"),
        this.open,
        this.reload,
      ),
      this.empty,
      this.stage,
    );
  }

  draw() {
    const { previewUrl, previewVersion } = this.project;
    this.open.hidden = this.reload.hidden = this.stage.hidden = !previewUrl;
    this.empty.hidden = Boolean(previewUrl);
    this.empty.textContent = isActive(this.project)
      ? "The app appears here as soon as it runs."
      : "There is no app to show yet.";
    const wanted = previewUrl ? `${previewVersion} ${previewUrl}` : "";
    if (wanted === this.shown) return;
    this.shown = wanted;
    if (previewUrl) this.load();
  }

  load() {
    const url = new URL(this.project.previewUrl, location.href);
    this.open.href = url.href;
    this.stage.replaceChildren(
      h("iframe", { title: "Preview of the app", sandbox: RIGHTS, src: url.href }),
    );
  }
}
