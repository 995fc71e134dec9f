"""What the usual draw leaves out: rare illness, other patients, other scanners, cut fields of view, no lungs at all.

Drawn on top of a usual patient and scan, from random numbers of its own: the usual phantoms stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from medseg.datasets.phantom.anatomy import Abdomen, Anatomy, Blob, Chest, Draw, Lungs, Mediastinum, Point, Tissue, Wall
from medseg.datasets.phantom.scan import Scan

AS_USUAL, NO_LUNGS = 0.2, 0.13
"""How often nothing is changed, and how often the scan shows another part of the body."""


def look_elsewhere(scan: Scan, d: Draw) -> Scan:
    """A scan of another part of the body, often with the field of view well inside it."""
    top = d.between(-50, 50)
    return replace(
        scan,
        bottom_mm=top - d.between(60, 380),
        top_mm=top,
        field_mm=d.log_between(110, 480),
        off_centre_mm=(d.near(0, 45, -120, 120), d.near(0, 35, -90, 90)),
    )


def widen(anatomy: Anatomy, scan: Scan, d: Draw) -> tuple[Anatomy, Scan]:
    """A rarer patient and scan beside the drawn ones."""
    chest = _wide_chest(anatomy.chest, d)
    anatomy = replace(
        anatomy,
        chest=chest,
        wall=_wide_wall(anatomy.wall, chest, d),
        mediastinum=_wide_mediastinum(anatomy.mediastinum, d),
        abdomen=_wide_abdomen(anatomy.abdomen, chest, d),
        lungs=_wide_lungs(anatomy.lungs, chest, d),
        tissue=_wide_tissue(anatomy.tissue, d),
    )
    if anatomy.lungs.airless and d.chance(0.75):  # the mediastinum moves to the side without air
        shift = anatomy.lungs.airless * d.between(0.15, 0.65)
        anatomy = replace(anatomy, chest=replace(chest, volume_asymmetry=shift))
    return anatomy, _wide_scan(scan, anatomy, d)


def _wide_chest(chest: Chest, d: Draw) -> Chest:
    """Deep and flat chests, shallow breaths, one diaphragm high."""
    raised = d.choice(("none", "left", "right"), (0.8, 0.1, 0.1))
    return replace(
        chest,
        half_depth_mm=chest.half_width_mm * d.near(0.7, 0.11, 0.48, 1.02),
        height_mm=chest.height_mm * (d.between(0.62, 0.95) if d.chance(0.35) else d.between(0.95, 1.12)),
        kyphosis_mm=d.between(2, 45),
        left_dome_lower_mm=chest.left_dome_lower_mm + {"none": 0.0, "left": -55.0, "right": 50.0}[raised],
        drop_posterior_mm=d.between(20, 120),
        drop_lateral_mm=d.between(8, 85),
    )


def _wide_wall(wall: Wall, chest: Chest, d: Draw) -> Wall:
    """Obese and starved, arms anywhere, breasts, metal."""
    obese = d.chance(0.2)
    return replace(
        wall,
        fat_mm=d.between(45, 105) if obese else d.log_between(1.5, 45),
        muscle_mm=d.between(3, 26),
        arms=d.choice(("up", "down", "one"), (0.5, 0.4, 0.1)),
        breast_mm=d.between(20, 70) if d.chance(0.4) else wall.breast_mm,
        metal=tuple(_draw_metal(d, chest) for _ in range(1 + d.count(1.0))) if d.chance(0.2) else (),
    )


def _draw_metal(d: Draw, chest: Chest) -> Blob:
    """Pacemaker, spinal rod, clip or sternal wire, electrode; `strength` is how far it streaks."""
    a, b, h = chest.half_width_mm, chest.half_depth_mm, chest.height_mm
    places: dict[str, tuple[Point, Point]] = {
        "pacemaker": ((-0.6 * a, 0.75 * b, -d.between(0.15, 0.35) * h), (20, 6, 22)),
        "rod": ((d.between(-18, 18), -1.02 * b, -d.between(0.2, 1.1) * h), (4, 4, d.between(30, 120))),
        "wire": ((d.between(-6, 6), 0.95 * b, -d.between(0.2, 0.8) * h), (3, 3, 4)),
        "lead": ((d.between(-40, 40), d.between(-0.2, 0.4) * b, -d.between(0.3, 0.9) * h), (3, 3, d.between(4, 40))),
    }
    place, radii = places[d.choice(tuple(places), (0.3, 0.25, 0.25, 0.2))]
    return Blob(place, radii, d.between(1500, 3500), strength=d.log_between(0.2, 1.5))


def _wide_mediastinum(mediastinum: Mediastinum, d: Draw) -> Mediastinum:
    """A hernia; little fat, so that the right lung touches the trachea's wall, and the oesophagus'."""
    hernia_mm = d.between(14, 34) if d.chance(0.06) else 0.0
    if not d.chance(0.7):
        return replace(mediastinum, hernia_mm=hernia_mm)
    return replace(
        mediastinum,
        hernia_mm=hernia_mm,
        right_recess=d.between(0.4, 1),
        recess_over_mm=d.between(2, 18) if d.chance(0.6) else 0.0,
        margin_mm=d.between(0.2, 3),
        trachea_depth=d.between(-0.05, 0.26),
        trachea_shift_mm=d.between(-4, 14),
        gullet_mm=d.between(3.5, 7),
        gullet_left_mm=d.between(2, 12),
    )


def _wide_abdomen(abdomen: Abdomen, chest: Chest, d: Draw) -> Abdomen:
    """A large stomach, gas and bowel down to the pelvis, kidneys."""
    top = -chest.height_mm - chest.left_dome_lower_mm
    grown = d.between(0.8, 1.7)
    stomach = abdomen.stomach
    x, y, z = stomach.radii_mm
    extra = tuple(_draw_loop(d, chest, top, -1000.0) for _ in range(d.count(6)))
    full = tuple(_draw_loop(d, chest, top, d.between(-10, 250)) for _ in range(d.count(10)))
    kidneys = tuple(
        Blob(
            (side * 0.42 * chest.half_width_mm, -0.45 * chest.half_depth_mm, top - 110),
            (28, 26, 55),
            d.between(30, 220),
        )
        for side in (-1, 1)
    )
    return replace(
        abdomen,
        stomach=replace(stomach, radii_mm=(x * grown, y * grown, z * grown)),
        stomach_gas=d.between(0.2, 0.95) if d.chance(0.55) else 0.0,
        gas=(*abdomen.gas, *extra),
        bowel=(*abdomen.bowel, *kidneys, *full),
    )


def _draw_loop(d: Draw, chest: Chest, top: float, hu: float) -> Blob:
    centre = (
        d.between(-0.85, 0.85) * chest.half_width_mm,
        d.between(-0.4, 0.85) * chest.half_depth_mm,
        top - d.between(15, 420),
    )
    size = d.log_between(8, 42)
    return Blob(centre, (size * d.between(0.6, 1.6), size * d.between(0.6, 1.4), size * d.between(0.6, 1.8)), hu)


def _wide_lungs(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    """At most one of the great changes of a lung, and what may come with any of them."""
    change = d.choice(tuple(_CHANGES), tuple(weight for weight, _ in _CHANGES.values()))
    masses = tuple(_draw_mass(d, chest) for _ in range(d.count(0.5)))
    lungs = replace(
        lungs,
        hu=d.near(-850, 70, -960, -560),
        gradient_hu=d.between(0, 200),
        speckle_hu=d.between(0, 420),
        nodules=(*lungs.nodules, *masses),
    )
    return _CHANGES[change][1](lungs, chest, d)


def _draw_mass(d: Draw, chest: Chest) -> Blob:
    """A tumour, mostly at the wall."""
    side = -1.0 if d.chance(0.5) else 1.0
    reach = d.between(0.75, 1.0) if d.chance(0.6) else d.between(0.4, 0.75)
    y = d.between(-0.85, 0.7)
    x = side * reach * chest.half_width_mm * (1 - 0.5 * y * y)
    radius = d.log_between(10, 42)
    radii = (radius * d.between(0.7, 1.3), radius * d.between(0.7, 1.3), radius * d.between(0.7, 1.3))
    return Blob((x, y * chest.half_depth_mm, -d.between(0.1, 1.0) * chest.height_mm), radii, d.between(-20, 90))


def _as_they_are(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    return lungs


def _effusions(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    left, right = (d.between(30, 150) if d.chance(0.6) else 0.0 for _ in range(2))
    return replace(lungs, effusion_left_mm=left, effusion_right_mm=right, effusion_hu=d.between(-5, 45))


def _airless(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    return replace(lungs, airless=-1 if d.chance(0.5) else 1, effusion_hu=d.between(-5, 60))


def _pneumothorax(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    gap = d.log_between(12, 80)
    left = d.chance(0.5)
    fluid = d.between(10, 40) if d.chance(0.4) else 0.0
    return replace(
        lungs,
        pneumothorax_left_mm=gap if left else 0.0,
        pneumothorax_right_mm=0.0 if left else gap,
        effusion_left_mm=fluid if left else 0.0,
        effusion_right_mm=0.0 if left else fluid,
    )


def _consolidation(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    """Lobes without air, or ground glass all over."""
    return replace(lungs, opacities=(*lungs.opacities, *(_draw_patch(d, chest) for _ in range(1 + d.count(3)))))


def _draw_patch(d: Draw, chest: Chest) -> Blob:
    side = -1.0 if d.chance(0.5) else 1.0
    centre = (
        side * d.between(0.4, 0.9) * chest.half_width_mm,
        d.between(-1.0, 0.4) * chest.half_depth_mm,
        -d.between(0.2, 1.3) * chest.height_mm,
    )
    radius = d.log_between(30, 95)
    radii = (radius * d.between(0.6, 1.4), radius * d.between(0.6, 1.4), radius * d.between(0.6, 1.4))
    return Blob(centre, radii, d.between(10, 90), strength=d.between(0.3, 1.0))


def _emphysema(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    bullae = tuple(replace(_draw_mass(d, chest), hu=-1000.0) for _ in range(d.count(4)))
    hu = d.between(-985, -900)
    return replace(lungs, hu=hu, emphysema=d.between(0.5, 1.2), opacities=(*lungs.opacities, *bullae))


def _fibrosis(lungs: Lungs, chest: Chest, d: Draw) -> Lungs:
    return replace(lungs, hu=d.between(-820, -560), fibrosis_hu=d.between(150, 550), texture_hu=d.between(30, 90))


_CHANGES: dict[str, tuple[float, Callable[[Lungs, Chest, Draw], Lungs]]] = {
    "none": (0.42, _as_they_are),
    "effusions": (0.12, _effusions),
    "airless": (0.07, _airless),
    "pneumothorax": (0.07, _pneumothorax),
    "consolidation": (0.14, _consolidation),
    "emphysema": (0.1, _emphysema),
    "fibrosis": (0.08, _fibrosis),
}


def _wide_tissue(tissue: Tissue, d: Draw) -> Tissue:
    """Contrast at other times: the pulmonary arteries before the rest, twice as dense."""
    if not d.chance(0.25):
        return tissue
    blood = d.between(250, 700)
    return replace(tissue, blood=blood, heart=blood * d.between(0.3, 1.0), liver=d.between(45, 140))


def _wide_scan(scan: Scan, anatomy: Anatomy, d: Draw) -> Scan:
    chest = anatomy.chest
    lungs_mm = chest.height_mm + max(chest.left_dome_lower_mm, 0) + 0.6 * chest.drop_posterior_mm
    bottom, top = _wide_range(d, lungs_mm)
    narrow = d.chance(0.24)  # the field of view cuts the chest
    thick = d.chance(0.3)
    plane = d.between(2.6, 3.4)
    return replace(
        scan,
        bottom_mm=bottom,
        top_mm=top,
        field_mm=chest.half_width_mm * d.between(0.9, 2.1) if narrow else scan.field_mm * d.between(0.95, 1.2),
        off_centre_mm=_off_centre(d, chest) if narrow else scan.off_centre_mm,
        spacing_mm=(plane, plane, d.between(3.5, 7.0) if thick else d.between(2.6, 3.5)),
        softness=1.0 if thick else d.between(0.3, 1.0),
        turn_deg=(d.near(0, 9, -35, 35), d.near(0, 6, -20, 20), d.near(0, 5, -16, 16)),
        wobble_mm=d.between(1, 9),
        prone=d.chance(0.12),
        noise_hu=d.log_between(5, 190),
        noise_grain_mm=d.between(0, 2.0),
        streak_hu=d.log_between(2, 150),
        sharpen=d.between(0.2, 1.3) if d.chance(0.4) else 0.0,
        bias_hu=d.log_between(1, 35),
        shift_hu=_wide_shift(d),
        size=d.between(0.42, 0.85) if d.chance(0.2) else 1.0,
    )


def _off_centre(d: Draw, chest: Chest) -> tuple[float, float]:
    """Of a narrow field; of a shoulder, a breast or a flank often so far to one side that a single lung is in view."""
    y = d.near(0, 25, -70, 70)
    if d.chance(0.5):
        side = -1.0 if d.chance(0.5) else 1.0
        return side * d.between(0.4, 0.9) * chest.half_width_mm, y
    return d.near(0, 40, -110, 110), y


def _wide_shift(d: Draw) -> float:
    return 1024.0 if d.chance(0.06) else d.near(0, 15, -50, 50)


def _wide_range(d: Draw, lungs_mm: float) -> tuple[float, float]:
    """The scanned range: chest, upper or lower part, a slab, trunk, abdomen with the bases."""
    part = d.choice(("chest", "upper", "lower", "slab", "trunk", "bases"), (0.36, 0.13, 0.13, 0.08, 0.16, 0.14))
    if part == "upper":
        return -d.between(0.25, 0.7) * lungs_mm, d.between(0, 130)
    if part == "lower":
        return -lungs_mm - d.between(0, 150), -d.between(0.2, 0.7) * lungs_mm
    if part == "slab":
        middle = -d.between(0.1, 0.95) * lungs_mm
        half = d.between(20, 60)
        return middle - half, middle + half
    if part == "trunk":
        return -lungs_mm - d.between(150, 420), d.between(5, 130)
    if part == "bases":
        return -lungs_mm - d.between(100, 400), -d.between(0.65, 0.98) * lungs_mm
    return -lungs_mm - d.between(-15, 70), d.between(-15, 120)
