// The JSON endpoints. A refusal is an Error with the service's sentence and its `code`.

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw Object.assign(new Error("The service does not answer."), { code: "not_running" });
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? `The service answered with status ${response.status}.`;
  throw Object.assign(new Error(message), { code: body?.error?.code ?? "unknown" });
}

const projectPath = (id) => `api/projects/${encodeURIComponent(id)}`;

/** Return {projects, nextCursor}; pass the cursor for the page after it. */
export async function listProjects(cursor) {
  const query = cursor ? `?cursor=${encodeURIComponent(cursor)}` : "";
  return (await request(`api/projects${query}`)).json();
}

export async function getStatus() {
  return (await request("api/status")).json();
}

export async function getFileText(id, path) {
  const encoded = path.split("/").map(encodeURIComponent).join("/");
  return (await request(`${projectPath(id)}/files/${encoded}`)).text();
}

export async function deleteProject(id) {
  await request(projectPath(id), { method: "DELETE" });
}

export const archiveUrl = (id) => `${projectPath(id)}/archive`;
