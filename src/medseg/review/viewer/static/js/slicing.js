// One slice of a study as pixels: grey values through the window, codes of the mask, outlines between codes.

/** Writes the grey slice `w` of a plane into an ImageData of its size. */
export function greySlice(study, plane, w, window, pixels) {
  const { data, slope, intercept } = study;
  const [nu, nv] = plane.size;
  const [su, sv, sw] = plane.step;
  const low = (window.level - window.width / 2 - intercept) / slope;
  const gain = (255 * slope) / Math.max(window.width, 1e-9);
  const out = new Uint32Array(pixels.data.buffer);
  let pixel = 0;
  for (let v = 0; v < nv; v++) {
    let at = plane.base + v * sv + w * sw;
    for (let u = 0; u < nu; u++, at += su) {
      const value = (data[at] - low) * gain;
      const grey = value < 0 ? 0 : value > 255 ? 255 : value | 0;
      out[pixel++] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
  }
}

/** Codes of slice `w`: Uint8Array of nu x nv, and whether any is set. */
export function codeSlice(code, plane, w) {
  const [nu, nv] = plane.size;
  const [su, sv, sw] = plane.step;
  const codes = new Uint8Array(nu * nv);
  let pixel = 0;
  let any = false;
  for (let v = 0; v < nv; v++) {
    let at = plane.base + v * sv + w * sw;
    for (let u = 0; u < nu; u++, at += su) {
      const value = code(at);
      if (value) any = true;
      codes[pixel++] = value;
    }
  }
  return { codes, any };
}

/** Writes codes in their colours, opaque; background stays clear. */
export function paintCodes(codes, colours, pixels) {
  const table = new Uint32Array(256);
  colours.forEach(([r, g, b], code) => {
    table[code] = code ? (0xff000000 | (b << 16) | (g << 8) | r) >>> 0 : 0;
  });
  const out = new Uint32Array(pixels.data.buffer);
  for (let at = 0; at < codes.length; at++) out[at] = table[codes[at]];
}

/** Lines round the pixels of each code, in pixel coordinates: Map code -> Path2D. */
export function outlines(codes, nu, nv) {
  const paths = new Map();
  const line = (code, u0, v0, u1, v1) => {
    if (!paths.has(code)) paths.set(code, new Path2D());
    const path = paths.get(code);
    path.moveTo(u0, v0);
    path.lineTo(u1, v1);
  };
  const at = (u, v) => (u < 0 || v < 0 || u >= nu || v >= nv ? 0 : codes[v * nu + u]);
  for (let v = 0; v <= nv; v++) {
    for (let u = 0; u <= nu; u++) {
      const here = at(u, v);
      const left = at(u - 1, v);
      const above = at(u, v - 1);
      if (here !== left) line(here || left, u, v, u, v + 1);
      if (here !== above) line(here || above, u, v, u + 1, v);
    }
  }
  return paths;
}
