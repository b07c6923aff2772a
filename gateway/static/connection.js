// A project's WebSocket: comes back by itself after a drop, resumes after the last frame, and
// repeats commands that were not answered (their ids make that harmless).

import { randomHex } from "./format.js";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5000;
const ANSWERS = ["accepted", "done"];
const NOTICES = ["storage_unavailable", "storage_restored"]; // of this moment, without a number
const RUN_ENDS = ["generation_complete", "generation_cancelled", "error"];

export class Connection {
  /** `onFrame(frame)` gets new frames only; `onChange(isOpen)` tells of drops and returns. */
  constructor(projectId, { onFrame, onChange }) {
    this.projectId = projectId;
    this.onFrame = onFrame;
    this.onChange = onChange;
    this.lastSeq = null;
    this.unanswered = new Map();
    this.pause = FIRST_PAUSE_MS;
    this.isClosed = false;
    this.retryNow = () => this.retry();
    addEventListener("online", this.retryNow);
    this.open();
  }

  open() {
    const url = new URL(`ws/${this.projectId}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.hash = "";
    if (this.lastSeq !== null) url.searchParams.set("since", this.lastSeq);
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => {
      this.onChange(true);
      for (const command of this.unanswered.values()) socket.send(JSON.stringify(command));
    };
    socket.onmessage = (message) => this.take(JSON.parse(message.data));
    socket.onclose = () => {
      if (this.isClosed) return;
      this.onChange(false);
      this.timer = setTimeout(() => this.open(), this.pause);
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    };
  }

  take(frame) {
    this.pause = FIRST_PAUSE_MS;
    const isOld = this.lastSeq !== null && frame.seq <= this.lastSeq;
    if (frame.type === "snapshot") this.lastSeq = frame.data.lastSeq;
    else if (NOTICES.includes(frame.type)) return this.onFrame(frame);
    else if (ANSWERS.includes(frame.type) || (frame.type === "error" && isOld)) {
      // An answer to this socket alone: it carries the number of the frame before it.
      frame = { ...frame, isAnswer: true };
      this.unanswered.delete(frame.data.id);
    } else if (isOld) return;
    else this.lastSeq = frame.seq;
    if (!frame.isAnswer && RUN_ENDS.includes(frame.type)) this.forget("cancel");
    this.onFrame(frame);
  }

  generate(description, mode = "queue") {
    this.send({ type: "generate", id: randomHex(16), description, mode });
  }

  /** Stop the run, or take one command out of the queue. */
  cancel(commandId) {
    const target = commandId === undefined ? {} : { commandId };
    this.send({ type: "cancel", id: randomHex(16), ...target });
  }

  send(command) {
    this.unanswered.set(command.id, command);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(command));
  }

  forget(type) {
    for (const [id, command] of this.unanswered) if (command.type === type) this.unanswered.delete(id);
  }

  retry() {
    if (this.isClosed || this.socket.readyState !== WebSocket.CLOSED) return;
    clearTimeout(this.timer);
    this.open();
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    removeEventListener("online", this.retryNow);
    this.socket.close();
  }
}
