// The server's HTTP interface. Every failure becomes an ApiError with the server's own words.

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const CHANGE = { "X-Medseg": "1" };

const part = encodeURIComponent;

function words(status, body) {
  try {
    const answer = JSON.parse(body);
    const text = answer.error ?? answer.detail ?? answer.message;
    if (typeof text === "string") return text;
    if (Array.isArray(text)) return text.map((entry) => entry.msg ?? String(entry)).join("; ");
    if (text?.message) return text.message;
  } catch {
    // not JSON: told below as it is
  }
  return body && body.length < 600 && !body.startsWith("<") ? body : `The server answered ${status}.`;
}

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Is `medseg review` still running?");
  }
  if (!response.ok) throw new ApiError(response.status, words(response.status, await response.text()));
  return response;
}

const json = async (path, options) => (await request(path, options)).json();

const change = (method, body) => ({
  method,
  headers: { ...CHANGE, "Content-Type": "application/json" },
  ...(body === undefined ? {} : { body: JSON.stringify(body) }),
});

export const state = () => json("/api/state");
export const cases = () => json("/api/cases");
export const caseOf = (id, signal) => json(`/api/cases/${part(id)}`, { signal });
export const imageUrl = (id, kind) => `/api/cases/${part(id)}/image.${kind === "picture" ? "png" : "nii"}`;
export const review = (id, verdict) => request(`/api/cases/${part(id)}/review`, change("PUT", verdict));
export const jobs = () => json("/api/jobs");
export const startJob = (job) => json("/api/jobs", change("POST", job));
export const removeCase = (id) => request(`/api/cases/${part(id)}`, change("DELETE"));
export const logout = () => request("/logout", change("POST"));
export const cancelJob = (job) => request(`/api/jobs/${part(job)}`, change("DELETE"));

/** The bytes at an address; `progress(done, total)` is told while they come. */
export async function bytes(url, signal, progress) {
  const response = await request(url, { signal });
  const total = Number(response.headers.get("Content-Length")) || 0;
  if (!total || response.headers.get("Content-Encoding")) return response.arrayBuffer();
  const all = new Uint8Array(total);
  const reader = response.body.getReader();
  let done = 0;
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    all.set(piece.value, done);
    done += piece.value.length;
    progress?.(done, total);
  }
  return all.buffer;
}

async function gzip(array) {
  const stream = new Blob([array]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/**
 * Saves a label map (Uint8Array, X fastest, the image's own storage order) as a new label of the case.
 * `from` is the version of the correction that was painted on, 0 for none. Resolves to the server's record of it.
 */
export async function saveCorrection(id, voxels, { shape, by, from }) {
  const response = await request(`/api/cases/${part(id)}/correction?from=${from}`, {
    method: "PUT",
    headers: { ...CHANGE, "Content-Type": "application/octet-stream", "X-Shape": shape.join(","), "X-By": part(by) },
    body: await gzip(voxels),
  });
  return response.json();
}

/** Sends files; XMLHttpRequest, as fetch does not tell how much has been sent. Resolves to {upload, kind, name}. */
export function upload(files, progress, signal) {
  const form = new FormData();
  for (const { file, path } of files) form.append("files", file, path);
  return new Promise((resolve, reject) => {
    const call = new XMLHttpRequest();
    call.open("POST", "/api/uploads");
    call.setRequestHeader("X-Medseg", "1");
    call.upload.onprogress = (event) => progress(event.loaded, event.total);
    call.onload = () => {
      if (call.status >= 200 && call.status < 300) resolve(JSON.parse(call.responseText));
      else reject(new ApiError(call.status, words(call.status, call.responseText)));
    };
    call.onerror = () => reject(new ApiError(0, "The upload did not reach the server."));
    call.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal?.addEventListener("abort", () => call.abort());
    call.send(form);
  });
}
