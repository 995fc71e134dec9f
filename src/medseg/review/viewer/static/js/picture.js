// X-rays and other pictures: a PNG as a grid of one slice.

/** {shape, spacing, data} of a PNG's grey values, rows from the top. */
export async function readPicture(buffer) {
  const bitmap = await createImageBitmap(new Blob([buffer], { type: "image/png" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data: rgba } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const data = new Uint8Array(rgba.length / 4);
  for (let at = 0; at < data.length; at++) data[at] = grey(rgba, 4 * at);
  return { shape: [bitmap.width, bitmap.height, 1], spacing: [1, 1, 1], affine: null, data, slope: 1, intercept: 0 };
}

/** Masks and X-rays are grey, so red says all; of a coloured picture the luminance (ITU-R BT.601). */
function grey(rgba, at) {
  if (rgba[at] === rgba[at + 1] && rgba[at] === rgba[at + 2]) return rgba[at];
  return Math.round(0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2]);
}
