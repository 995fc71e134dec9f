"""The random draw: what patient lies there. `ct.py` paints it; nothing is drawn at random after this module.

Anatomical millimetres: x towards the patient's right, y anterior, z superior, the lungs' apex at z = 0, the
mid-sagittal plane at x = 0, the middle of the chest's depth at y = 0. Sizes follow adult chest CT: inner chest 190 to
330 mm wide, lungs 170 to 270 mm high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Chest:
    """The inner chest wall and the diaphragm, in mm."""

    half_width_mm: float
    half_depth_mm: float
    height_mm: float
    apex_width: float
    squareness: float
    kyphosis_mm: float
    gutter_mm: float
    front_slope: float
    left_dome_lower_mm: float
    drop_posterior_mm: float
    drop_anterior_mm: float
    drop_lateral_mm: float
    dome_y: float
    apex_x: float
    apex_slope: float
    volume_asymmetry: float


@dataclass(frozen=True)
class Blob:
    """An ellipsoid with its HU: nodule, opacity, gas bubble, organ."""

    centre: Point
    radii_mm: Point
    hu: float
    strength: float = 1.0


@dataclass(frozen=True)
class Wall:
    """What lies round the chest: muscle, fat, breasts, arms, bones."""

    muscle_mm: float
    fat_mm: float
    back_mm: float
    rib_pitch_mm: float
    rib_slope: float
    rib_radius_mm: float
    rib_phase: float
    vertebra_mm: float
    vertebra_depth_mm: float
    neck_mm: float
    arms: str
    breast_mm: float
    breast_gland: float
    scapula: bool
    metal: tuple[Blob, ...] = ()


@dataclass(frozen=True)
class Mediastinum:
    """Heart, great vessels, airways between the lungs. `right_recess`: the share of its right half that lung fills.

    `recess_over_mm` is how far the right lung reaches to the left behind the trachea, over the middle; `trachea_depth`
    how far behind the middle of the chest the trachea parts, over half the chest's depth.
    """

    middle_mm: float
    front_mm: float
    wedge_mm: float
    margin_mm: float
    heart_ratio: float
    heart_yaw_deg: float
    heart_tilt_deg: float
    heart_depth: float
    heart_height: float
    fat_pad_mm: float
    aorta_mm: float
    artery_mm: float
    trachea_mm: float
    bronchus_mm: float
    carina: float
    trachea_shift_mm: float
    oesophagus_air_mm: float
    hernia_mm: float = 0.0
    right_recess: float = 0.0
    recess_over_mm: float = 0.0
    trachea_depth: float = 0.28
    gullet_mm: float = 7.0
    gullet_left_mm: float = 4.0


@dataclass(frozen=True)
class Abdomen:
    """What lies under the diaphragm."""

    liver_left_mm: float
    liver_depth_mm: float
    stomach: Blob
    stomach_gas: float
    spleen: Blob
    gas: tuple[Blob, ...]
    bowel: tuple[Blob, ...]
    fat: float


@dataclass(frozen=True)
class Lungs:
    """Parenchyma, its density and what is ill in it. HU. `airless` is -1 where the left lung is gone, 1 the right."""

    hu: float
    gradient_hu: float
    texture_hu: float
    vessel_density: float
    speckle_hu: float
    vessel_mm: float
    emphysema: float
    fibrosis_hu: float
    nodules: tuple[Blob, ...]
    opacities: tuple[Blob, ...]
    effusion_left_mm: float
    effusion_right_mm: float
    effusion_hu: float
    airless: int = 0
    pneumothorax_left_mm: float = 0.0
    pneumothorax_right_mm: float = 0.0


@dataclass(frozen=True)
class Tissue:
    """HU of what is not lung."""

    fat: float
    muscle: float
    blood: float
    heart: float
    liver: float
    marrow: float
    cortex: float
    cartilage: float
    airway: float
    variation_hu: float


@dataclass(frozen=True)
class Anatomy:
    """One patient."""

    chest: Chest
    wall: Wall
    mediastinum: Mediastinum
    abdomen: Abdomen
    lungs: Lungs
    tissue: Tissue
    texture_seed: int


class Draw:
    """Short names for the draws that the whole phantom uses."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return float(self.rng.uniform(low, high))

    def log_between(self, low: float, high: float) -> float:
        """Uniform in the logarithm."""
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))

    def near(self, mean: float, sd: float, low: float, high: float) -> float:
        """Normal, clipped to [low, high]."""
        return float(np.clip(self.rng.normal(mean, sd), low, high))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < probability)

    def count(self, mean: float) -> int:
        """Poisson."""
        return int(self.rng.poisson(mean))

    def choice(self, options: tuple[str, ...], weights: tuple[float, ...]) -> str:
        """One of the options."""
        return str(options[int(self.rng.choice(len(options), p=np.asarray(weights) / sum(weights)))])

    def seed(self) -> int:
        """A seed for a texture."""
        return int(self.rng.integers(2**31))


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient."""
    d = Draw(rng)
    chest = _draw_chest(d)
    return Anatomy(
        chest=chest,
        wall=_draw_wall(d),
        mediastinum=_draw_mediastinum(d),
        abdomen=_draw_abdomen(d, chest),
        lungs=_draw_lungs(d, chest),
        tissue=_draw_tissue(d),
        texture_seed=d.seed(),
    )


def _draw_chest(d: Draw) -> Chest:
    half_width = d.near(128, 15, 94, 165)
    return Chest(
        half_width_mm=half_width,
        half_depth_mm=half_width * d.near(0.7, 0.07, 0.56, 0.9),
        height_mm=min(half_width * d.near(1.62, 0.2, 1.15, 2.15), d.between(215, 262)),
        apex_width=d.between(0.42, 0.6),
        squareness=d.between(0.2, 1.6),
        kyphosis_mm=d.between(2, 28),
        gutter_mm=d.between(0, 20),
        front_slope=d.between(0.75, 1.15),
        left_dome_lower_mm=d.near(13, 10, -12, 40),
        drop_posterior_mm=d.between(35, 105),
        drop_anterior_mm=d.between(5, 50),
        drop_lateral_mm=d.between(15, 70),
        dome_y=d.between(0.0, 0.5),
        apex_x=d.between(0.34, 0.46),
        apex_slope=d.between(0.5, 1.1),
        volume_asymmetry=d.near(0, 0.05, -0.14, 0.14),
    )


def _draw_wall(d: Draw) -> Wall:
    return Wall(
        muscle_mm=d.between(5, 22),
        fat_mm=d.log_between(3, 45),
        back_mm=d.between(15, 38),
        rib_pitch_mm=d.between(23, 34),
        rib_slope=d.between(0.35, 0.95),
        rib_radius_mm=d.between(5, 8),
        rib_phase=d.between(0, 1),
        vertebra_mm=d.between(15, 21),
        vertebra_depth_mm=d.between(18, 34),
        neck_mm=d.between(50, 75),
        arms=d.choice(("up", "down", "one"), (0.72, 0.2, 0.08)),
        breast_mm=d.between(14, 42) if d.chance(0.45) else 0.0,
        breast_gland=d.between(0, 1),
        scapula=d.chance(0.9),
    )


def _draw_mediastinum(d: Draw) -> Mediastinum:
    return Mediastinum(
        middle_mm=d.between(14, 26),
        front_mm=d.log_between(1.5, 18),
        wedge_mm=d.between(0, 30),
        margin_mm=d.between(1, 4),
        heart_ratio=d.near(0.46, 0.06, 0.33, 0.64),
        heart_yaw_deg=d.between(20, 50),
        heart_tilt_deg=d.between(5, 45),
        heart_depth=d.between(0.55, 0.8),
        heart_height=d.between(0.65, 0.9),
        fat_pad_mm=d.between(0, 32),
        aorta_mm=d.between(10, 18),
        artery_mm=d.between(8, 14),
        trachea_mm=d.between(6.5, 11),
        bronchus_mm=d.between(4.5, 7.5),
        carina=d.between(0.3, 0.44),
        trachea_shift_mm=d.near(3, 4, -6, 12),
        oesophagus_air_mm=d.between(2, 7) if d.chance(0.3) else 0.0,
    )


def _draw_tissue(d: Draw) -> Tissue:
    muscle = d.near(50, 10, 25, 75)
    enhanced = d.chance(0.45)
    blood = d.between(100, 380) if enhanced else d.near(42, 6, 28, 58)
    return Tissue(
        fat=d.near(-102, 9, -125, -80),
        muscle=muscle,
        blood=blood,
        heart=blood * d.between(0.55, 1.0) if enhanced else blood,
        liver=d.between(70, 130) if enhanced else d.near(55, 12, 5, 80),
        marrow=d.near(170, 60, 60, 350),
        cortex=d.between(350, 1100),
        cartilage=d.between(70, 180),
        airway=d.between(-1010, -950),
        variation_hu=d.between(5, 25),
    )


def _draw_abdomen(d: Draw, chest: Chest) -> Abdomen:
    a, b, top = chest.half_width_mm, chest.half_depth_mm, -chest.height_mm - chest.left_dome_lower_mm
    stomach_z = top - d.between(25, 50)
    return Abdomen(
        liver_left_mm=d.between(-0.6, 0.1) * a,
        liver_depth_mm=d.between(70, 170),
        stomach=Blob(
            (-d.between(0.3, 0.6) * a, d.between(-0.2, 0.4) * b, stomach_z),
            (d.between(25, 48), d.between(22, 42), d.between(20, 45)),
            d.between(0, 60),
        ),
        stomach_gas=d.between(0.1, 0.9) if d.chance(0.6) else 0.0,
        spleen=Blob(
            (-0.68 * a, -0.4 * b, top - d.between(35, 65)),
            (d.between(18, 34), d.between(25, 42), d.between(28, 50)),
            d.between(40, 60),
        ),
        gas=_draw_gas(d, chest, top),
        bowel=tuple(_draw_bowel(d, chest, top) for _ in range(d.count(8))),
        fat=d.between(0, 1),
    )


def _draw_gas(d: Draw, chest: Chest, top: float) -> tuple[Blob, ...]:
    """Loops of colon: strings of bubbles, mostly under the left dome, some under the right."""
    blobs: list[Blob] = []
    for _ in range(d.count(1.6)):
        side = -1.0 if d.chance(0.72) else 1.0
        at = np.array(
            [
                side * d.between(0.35, 0.85) * chest.half_width_mm,
                d.between(-0.3, 0.75) * chest.half_depth_mm,
                top - d.between(10, 90),
            ]
        )
        step = d.rng.normal(size=3)
        size = d.log_between(7, 26)
        for _ in range(1 + d.count(3)):
            radii = (size * d.between(0.7, 1.3), size * d.between(0.7, 1.3), size * d.between(0.7, 1.3))
            blobs.append(Blob((float(at[0]), float(at[1]), float(at[2])), radii, d.between(-1010, -900)))
            step = step + 0.7 * d.rng.normal(size=3)
            at = at + step / np.linalg.norm(step) * size * 1.5
    return tuple(blobs)


def _draw_bowel(d: Draw, chest: Chest, top: float) -> Blob:
    centre = (
        d.between(-0.8, 0.6) * chest.half_width_mm,
        d.between(-0.5, 0.8) * chest.half_depth_mm,
        top - d.between(20, 130),
    )
    return Blob(centre, (d.between(10, 30), d.between(10, 30), d.between(10, 30)), d.between(10, 60))


def _draw_lungs(d: Draw, chest: Chest) -> Lungs:
    sick = d.chance(0.45)
    return Lungs(
        hu=d.near(-876, 45, -955, -700),
        gradient_hu=d.between(0, 110),
        texture_hu=d.log_between(6, 45),
        vessel_density=d.between(0.6, 1.5),
        speckle_hu=d.between(40, 420),
        vessel_mm=d.between(0.75, 1.3),
        emphysema=d.between(0.2, 1) if d.chance(0.2) else 0.0,
        fibrosis_hu=d.between(50, 250) if d.chance(0.15) else 0.0,
        nodules=tuple(_draw_nodule(d, chest) for _ in range(d.count(1.2))),
        opacities=tuple(_draw_opacity(d, chest) for _ in range(1 + d.count(2.5))) if sick else (),
        effusion_left_mm=d.between(8, 60) if d.chance(0.1) else 0.0,
        effusion_right_mm=d.between(8, 60) if d.chance(0.1) else 0.0,
        effusion_hu=d.between(0, 30),
    )


def _lung_point(d: Draw, chest: Chest) -> Point:
    side = -1.0 if d.chance(0.5) else 1.0
    return (
        side * d.between(0.3, 0.95) * chest.half_width_mm,
        d.between(-0.95, 0.8) * chest.half_depth_mm,
        -d.between(0.1, 1.2) * chest.height_mm,
    )


def _draw_nodule(d: Draw, chest: Chest) -> Blob:
    radius = d.log_between(2.5, 18)
    radii = (radius * d.between(0.8, 1.2), radius * d.between(0.8, 1.2), radius * d.between(0.8, 1.2))
    return Blob(_lung_point(d, chest), radii, d.between(-100, 80))


def _draw_opacity(d: Draw, chest: Chest) -> Blob:
    """Ground glass to consolidation: strength is the share of air replaced by tissue."""
    radius = d.log_between(8, 55)
    radii = (radius * d.between(0.6, 1.4), radius * d.between(0.6, 1.4), radius * d.between(0.6, 1.4))
    return Blob(_lung_point(d, chest), radii, d.between(0, 55), strength=d.between(0.12, 1.0))
