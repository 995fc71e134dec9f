// How a grid of voxels is looked at: three planes in radiological convention (the patient's right on the left).

// World axes are RAS: +x right, +y anterior, +z superior. A plane goes right and down on the screen, then into it.
const PLANES = {
  axial: { axes: [0, 1, 2], signs: [-1, -1, -1], letters: { left: "R", right: "L", top: "A", bottom: "P" } },
  coronal: { axes: [0, 2, 1], signs: [-1, -1, -1], letters: { left: "R", right: "L", top: "S", bottom: "I" } },
  sagittal: { axes: [1, 2, 0], signs: [-1, -1, -1], letters: { left: "A", right: "P", top: "S", bottom: "I" } },
};
const ORDERS = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
const NO_LETTERS = { left: "", right: "", top: "", bottom: "" };

/** For each world axis the voxel axis nearest to it and its sign. */
function nearest(affine) {
  const length = (axis) => Math.hypot(affine[0][axis], affine[1][axis], affine[2][axis]) || 1;
  const cosine = (world, axis) => affine[world][axis] / length(axis);
  const fit = (order) => order.reduce((sum, axis, world) => sum + Math.abs(cosine(world, axis)), 0);
  const order = ORDERS.reduce((best, next) => (fit(next) > fit(best) + 1e-9 ? next : best));
  return order.map((axis, world) => ({ axis, sign: cosine(world, axis) < 0 ? -1 : 1 }));
}

/** Plane: size, step and mm are of (right, down, into the screen); offset of a voxel = base + u*su + v*sv + w*sw. */
function plane(name, grid, along, letters) {
  const strides = [1, grid.shape[0], grid.shape[0] * grid.shape[1]];
  const size = along.map(({ axis }) => grid.shape[axis]);
  const base = along.reduce((sum, { axis, sign }) => sum + (sign < 0 ? (grid.shape[axis] - 1) * strides[axis] : 0), 0);
  return {
    name, letters, size, base, along,
    step: along.map(({ axis, sign }) => sign * strides[axis]),
    mm: along.map(({ axis }) => grid.spacing[axis]),
  };
}

/** The planes of a volume {shape, spacing, affine}. */
export function volumePlanes(grid) {
  const of = nearest(grid.affine);
  return Object.fromEntries(Object.entries(PLANES).map(([name, { axes, signs, letters }]) => {
    const along = axes.map((world, i) => ({ axis: of[world].axis, sign: of[world].sign * signs[i] }));
    return [name, plane(name, grid, along, letters)];
  }));
}

/** The one plane of a picture; letters only where its sides, [left, right], are known. */
export function picturePlane(grid, sides) {
  const along = [0, 1, 2].map((axis) => ({ axis, sign: 1 }));
  const letters = sides ? { ...NO_LETTERS, left: sides[0], right: sides[1] } : NO_LETTERS;
  return { picture: plane("picture", grid, along, letters) };
}

/** Voxel (i, j, k) of a plane's (u, v, w). */
export function toVoxel(p, uvw) {
  const voxel = [0, 0, 0];
  p.along.forEach(({ axis, sign }, i) => {
    voxel[axis] = sign < 0 ? p.size[i] - 1 - uvw[i] : uvw[i];
  });
  return voxel;
}

/** (u, v, w) of voxel (i, j, k) in a plane. */
export function toPlane(p, voxel) {
  return p.along.map(({ axis, sign }, i) => (sign < 0 ? p.size[i] - 1 - voxel[axis] : voxel[axis]));
}

/** RAS position in mm of a voxel's centre. */
export const toWorld = (affine, [i, j, k]) => affine.map((r) => r[0] * i + r[1] * j + r[2] * k + r[3]);

/** Largest distance in mm between the places that two affines give to one voxel of a grid: it is that of a corner. */
export function farthestApart(a, b, shape) {
  const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => shape.map((size, axis) => ((bits >> axis) & 1) * (size - 1)));
  const apart = (corner) => {
    const [p, q] = [toWorld(a, corner), toWorld(b, corner)];
    return Math.hypot(...p.map((mm, axis) => mm - q[axis]));
  };
  return Math.max(...corners.map(apart));
}
