// Files that are dropped or chosen, with their paths inside a dropped folder.

function entriesOf(reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}

/** Files below a FileSystemEntry: [{file, path}]. */
async function below(entry, path) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: path + entry.name }];
  }
  const reader = entry.createReader();
  const found = [];
  // a reader hands on 100 entries at a time
  for (let some = await entriesOf(reader); some.length; some = await entriesOf(reader)) found.push(...some);
  const nested = [];
  for (const child of found) nested.push(...(await below(child, `${path}${entry.name}/`)));
  return nested;
}

const hidden = ({ path }) => path.split("/").some((part) => part.startsWith(".") || part === "__MACOSX" || part === "DICOMDIR");

/** Files of a drop event, folders included. The entries are taken at once: they are gone after the event. */
export async function droppedFiles(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = [...transfer.files];
  if (entries.every((entry) => entry === null)) return plain.map((file) => ({ file, path: file.name }));
  const nested = [];
  for (const entry of entries.filter(Boolean)) nested.push(...(await below(entry, "")));
  return nested.filter((entry) => !hidden(entry));
}

/** Files of an <input type="file">, which may be one for folders. */
export function chosenFiles(input) {
  return [...input.files]
    .map((file) => ({ file, path: file.webkitRelativePath || file.name }))
    .filter((entry) => !hidden(entry));
}

/** Calls `take(files)` for what is dropped anywhere on the page, and shows `veil` meanwhile. */
export function listenForDrops(veil, take, fail) {
  let depth = 0;
  const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const over = (change) => (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + change);
    veil.hidden = depth === 0;
  };
  window.addEventListener("dragenter", over(1));
  window.addEventListener("dragleave", over(-1));
  window.addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  window.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    veil.hidden = true;
    droppedFiles(event.dataTransfer).then(take, fail);
  });
}
