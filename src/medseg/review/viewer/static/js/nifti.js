// NIfTI-1 files (single, uncompressed, as the server sends them): header, affine, voxels.
// https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h

const TYPES = {
  2: Uint8Array, 4: Int16Array, 8: Int32Array, 16: Float32Array, 64: Float64Array,
  256: Int8Array, 512: Uint16Array, 768: Uint32Array,
};
const HEADER_BYTES = 348;

/** {shape, affine (3 rows of 4, RAS mm), spacing, data, slope, intercept}; data has X fastest. */
export function parseNifti(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < HEADER_BYTES || view.getInt32(0, true) !== HEADER_BYTES) {
    throw new Error("The image is not an uncompressed little-endian NIfTI-1 file.");
  }
  const shape = [42, 44, 46].map((at) => Math.max(1, view.getInt16(at, true)));
  const Type = TYPES[view.getInt16(70, true)];
  if (!Type) throw new Error(`NIfTI data type ${view.getInt16(70, true)} is not supported.`);
  const spacing = [80, 84, 88].map((at) => Math.abs(view.getFloat32(at, true)) || 1);
  const slope = view.getFloat32(112, true);
  const intercept = view.getFloat32(116, true);
  return {
    shape,
    spacing,
    affine: affineOf(view, spacing),
    data: voxels(buffer, Math.round(view.getFloat32(108, true)), Type, shape),
    slope: Number.isFinite(slope) && slope !== 0 ? slope : 1,
    intercept: Number.isFinite(slope) && slope !== 0 && Number.isFinite(intercept) ? intercept : 0,
  };
}

function voxels(buffer, start, Type, shape) {
  const count = shape[0] * shape[1] * shape[2];
  if (start + count * Type.BYTES_PER_ELEMENT > buffer.byteLength) throw new Error("The image file is cut off.");
  return start % Type.BYTES_PER_ELEMENT === 0
    ? new Type(buffer, start, count)
    : new Type(buffer.slice(start, start + count * Type.BYTES_PER_ELEMENT));
}

function affineOf(view, spacing) {
  const float = (at) => view.getFloat32(at, true);
  if (view.getInt16(254, true) > 0) {
    return [280, 296, 312].map((row) => [0, 4, 8, 12].map((column) => float(row + column)));
  }
  if (view.getInt16(252, true) > 0) return quaternion(view, spacing);
  return [0, 1, 2].map((row) => [0, 1, 2, 3].map((column) => (row === column ? spacing[row] : 0)));
}

function quaternion(view, spacing) {
  const float = (at) => view.getFloat32(at, true);
  const [b, c, d] = [256, 260, 264].map(float);
  const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
  const handed = float(76) < 0 ? -1 : 1;
  const rotation = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ];
  const scale = [spacing[0], spacing[1], spacing[2] * handed];
  return rotation.map((row, i) => [...row.map((value, k) => value * scale[k]), float(268 + 4 * i)]);
}

/** A NIfTI-1 file of the given voxels, for NiiVue; intent 1002 says that they are labels. */
export function writeNifti({ shape, affine, data, intent = 0 }) {
  const code = Number(Object.keys(TYPES).find((key) => data instanceof TYPES[key]));
  const buffer = new ArrayBuffer(352 + data.byteLength);
  const view = new DataView(buffer);
  view.setInt32(0, HEADER_BYTES, true);
  [3, ...shape, 1, 1, 1, 1].forEach((size, i) => view.setInt16(40 + 2 * i, size, true));
  view.setInt16(68, intent, true);
  view.setInt16(70, code, true);
  view.setInt16(72, 8 * data.BYTES_PER_ELEMENT, true);
  const length = (axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]);
  [1, length(0), length(1), length(2)].forEach((size, i) => view.setFloat32(76 + 4 * i, size, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, 2);
  view.setInt16(254, 1, true);
  affine.forEach((row, i) => row.forEach((value, k) => view.setFloat32(280 + 16 * i + 4 * k, value, true)));
  new Uint8Array(buffer, 344, 4).set([0x6e, 0x2b, 0x31, 0]);
  new Uint8Array(buffer, 352).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return buffer;
}
