// A project as its frames tell it: state is a fold of frames. No DOM, no network.

import { byteSize } from "./format.js";

const MAX_LOG_LINES = 200;
const MAX_PROBLEMS = 10; // as in actors/state.py
const RUNS_A_COMMAND = ["installing_deps", "checking_build", "starting_server"];
const ACTIVE_STATES = ["designing_phase", "implementing_phase", ...RUNS_A_COMMAND];

const NO_USAGE = { calls: 0, promptTokens: 0, completionTokens: 0, costUsd: 0, estimatedCalls: 0 };

/** The state before the first frame; `texts` holds the files whose text is known, by path. */
export function emptyProject(id) {
  return {
    id,
    isLoaded: false,
    state: "idle",
    phases: [],
    designing: 0,
    files: new Map(),
    texts: new Map(),
    openFile: null,
    queue: [],
    run: null,
    problem: null,
    refusal: null,
    descriptions: [],
    problems: [],
    usage: NO_USAGE,
    previewUrl: null,
    previewVersion: 0,
    sandbox: { kind: null, containerId: null },
    model: "",
    isDemo: false,
    notice: null,
    outage: null, // why PostgreSQL is away
    stopped: null, // why the app answers no more
    log: [],
  };
}

export const isActive = (project) => ACTIVE_STATES.includes(project.state) || project.run !== null;

/** Change `project` by one frame; unknown types change nothing. */
export function apply(project, frame) {
  HANDLERS[frame.type]?.(project, frame.data, frame);
}

const currentPhase = (project) => project.phases.at(-1);

function closeFile(project, path) {
  if (project.openFile?.path === path) project.openFile = null;
}

function endRun(project) {
  project.run = null;
  project.openFile = null;
}

function addProblem(project, message) {
  if (!project.problems.includes(message)) project.problems = [...project.problems, message];
}

function changeRun(project, changes) {
  if (project.run) project.run = { ...project.run, ...changes };
}

const withCall = (usage, data) => ({
  calls: usage.calls + 1,
  promptTokens: usage.promptTokens + data.promptTokens,
  completionTokens: usage.completionTokens + data.completionTokens,
  costUsd: usage.costUsd + (data.costUsd ?? 0),
  estimatedCalls: usage.estimatedCalls + (data.estimated ? 1 : 0),
});

/** How many phases of the run are complete, or have only to start. */
function donePhases(project) {
  const ofRun = project.phases.slice(project.run ? project.run.firstPhase - 1 : Infinity);
  const complete = ofRun.filter((phase) => phase.status === "complete").length;
  return complete + (ofRun.at(-1)?.status === "written" ? 1 : 0);
}

const dequeue = (project, id) => project.queue.filter((command) => command.id !== id);

const HANDLERS = {
  snapshot(project, data) {
    const { files, openFile, lastSeq, ...members } = data;
    Object.assign(project, members, { isLoaded: true, refusal: null, notice: null, stopped: null });
    project.files = new Map(files.map((file) => [file.path, file]));
    project.texts = new Map();
    project.openFile = openFile && { ...openFile, size: byteSize(openFile.text) };
    project.previewVersion += 1;
  },
  state_change(project, data) {
    project.state = data.state;
    if (RUNS_A_COMMAND.includes(data.state)) project.log = [];
  },
  accepted(project) {
    project.refusal = null;
  },
  command_queued(project, data) {
    const others = dequeue(project, data.id);
    project.queue = data.place ? [...others, data] : [data, ...others];
  },
  command_dropped(project, data) {
    project.queue = dequeue(project, data.id);
  },
  run_started(project, data) {
    project.queue = dequeue(project, data.id);
    const fresh = { usage: NO_USAGE, repairs: 0, isSteered: false, pause: null, call: null };
    project.run = { ...data, ...fresh };
    project.descriptions = [...project.descriptions, data.description];
    project.problem = project.refusal = project.notice = project.stopped = null;
    project.log = [];
  },
  run_steered(project, data) {
    project.descriptions = [...project.descriptions, data.description];
    project.notice = "The plan is made anew with your wish.";
    const maxPhases = donePhases(project) + data.maxPhases;
    changeRun(project, { model: data.model, maxPhases, isSteered: true });
  },
  run_paused(project, data) {
    project.notice = data.message;
    changeRun(project, { pause: data, call: null });
  },
  run_resumed(project) {
    project.openFile = null;
    changeRun(project, { pause: null });
    project.notice = "The run was interrupted and goes on.";
  },
  model_call(project, data) {
    changeRun(project, { call: data });
  },
  usage(project, data) {
    project.usage = withCall(project.usage, data);
    if (project.run) changeRun(project, { call: null, usage: withCall(project.run.usage, data) });
  },
  phase_designing(project, data) {
    project.designing = data.phaseNumber;
  },
  model_retry(project, data) {
    project.notice = `${data.reason} Asking ${data.model} again.`;
  },
  phase_designed(project, data) {
    project.notice = null;
    const number = project.phases.length + 1;
    const phase = { number, status: "designed", finished: [], installs: [], ...data.phase };
    project.phases = [...project.phases, phase];
    project.problems = project.problems.slice(data.problems);
    changeRun(project, { isSteered: 0 < data.wishes && data.wishes < project.descriptions.length });
  },
  file_start(project, data) {
    project.notice = null;
    project.openFile = { path: data.path, text: "", size: 0 };
  },
  file_chunk(project, data) {
    if (project.openFile?.path !== data.path) HANDLERS.file_start(project, data);
    project.openFile.text += data.chunk;
    project.openFile.size += byteSize(data.chunk);
  },
  file_end(project, data) {
    const phase = currentPhase(project);
    const size = byteSize(data.content);
    project.files.set(data.path, { path: data.path, size, phaseNumber: phase?.number ?? 0 });
    project.texts.set(data.path, data.content);
    if (phase && !phase.finished.includes(data.path)) phase.finished.push(data.path);
    closeFile(project, data.path);
  },
  file_restored(project, data) {
    if (data.content !== null) project.texts.set(data.path, data.content);
    closeFile(project, data.path);
  },
  file_deleted(project, data) {
    const phase = currentPhase(project);
    project.files.delete(data.path);
    project.texts.delete(data.path);
    if (phase) phase.finished = phase.finished.filter((path) => path !== data.path);
  },
  install_requested(project, data) {
    const installs = currentPhase(project)?.installs;
    const asked = JSON.stringify(data.arguments);
    if (installs?.every((others) => JSON.stringify(others) !== asked)) installs.push(data.arguments);
  },
  files_written(project) {
    if (currentPhase(project)) currentPhase(project).status = "written";
  },
  phase_completed(project) {
    if (currentPhase(project)) currentPhase(project).status = "complete";
    changeRun(project, { repairs: 0 });
    project.previewVersion += 1;
  },
  phase_failed(project, data) {
    if (currentPhase(project)) currentPhase(project).status = "failed";
    addProblem(project, data.message);
    changeRun(project, { repairs: (project.run?.repairs ?? 0) + 1 });
  },
  phase_cut(project) {
    const phase = currentPhase(project);
    if (!phase) return;
    phase.files = phase.files.filter((file) => phase.finished.includes(file.path));
    phase.delete = [];
    phase.isLastPhase = false;
    phase.status = "complete";
    changeRun(project, { maxPhases: (project.run?.maxPhases ?? 0) + 1 });
  },
  problem_reported(project, data) {
    if (project.problems.length < MAX_PROBLEMS) addProblem(project, data.message);
  },
  storage_unavailable(project, data) {
    project.outage = data.message;
  },
  storage_restored(project) {
    project.outage = null;
  },
  sandbox_started(project, data) {
    project.sandbox = { kind: data.kind, containerId: data.containerId };
  },
  sandbox_log(project, data) {
    project.log = [...project.log, data].slice(-MAX_LOG_LINES);
  },
  server_stopped(project, data) {
    project.stopped = data.message;
  },
  server_started(project, data) {
    project.stopped = null;
    project.previewUrl = data.url;
    project.previewVersion += 1;
  },
  generation_complete(project) {
    endRun(project);
    project.notice = null;
  },
  generation_cancelled(project) {
    endRun(project);
    project.notice = "Cancelled; the finished files are kept.";
  },
  error(project, data, frame) {
    if (frame.isAnswer) {
      project.refusal = data;
      return;
    }
    endRun(project);
    project.notice = null;
    project.problem = data;
  },
};
