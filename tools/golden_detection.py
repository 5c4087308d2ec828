#!/usr/bin/env python3
"""Generates tests/golden_detection.json: the protocols of face detection, implemented a second time.

    python3 tools/golden_detection.py    # needs NumPy, SciPy and OpenCV (pip install numpy scipy opencv-python-headless)

tests/detection.rs compares src/vision/metrics/detection with it. Pictures, faces and detections come from Python's own seeded generator, so
that every machine generates the same file. FDDB's masks are drawn by OpenCV, as its evaluator does, and its pairs are SciPy's assignment.

Each protocol is also computed in ways that look right and are not, with one choice changed; the test refuses every such result, which shows
that the pictures tell them apart.
"""

import json
import math
import pathlib
import random

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden_detection.json"


# FDDB


def mask(size, region):
    """Draws what FDDB's evaluator draws: x, y, w, h, or major, minor, angle, x, y."""
    image = np.zeros(size, np.uint8)

    def point(x, y):
        # cvPoint2D32f holds floats; cvRound rounds halves to even.
        return int(np.rint(np.float32(x))), int(np.rint(np.float32(y)))

    if len(region) == 4:
        x, y, w, h = region
        cv2.rectangle(image, point(x, y), point(x + w, y + h), 1, cv2.FILLED)
    else:
        major, minor, angle, x, y = region
        angle = (math.pi - angle) * 180 / math.pi
        # The old interface rounds the angle itself.
        degrees = int(np.rint(180 - angle))
        cv2.ellipse(image, point(x, y), (int(major), int(minor)), degrees, 0, 360, 1, cv2.FILLED)
    return image.astype(bool)


def mask_overlap(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def box_of(region):
    """Returns x, y, w, h around a region."""
    if len(region) == 4:
        return region
    major, minor, angle, x, y = region
    w = math.hypot(major * math.cos(angle), minor * math.sin(angle))
    h = math.hypot(major * math.sin(angle), minor * math.cos(angle))
    return [x - w, y - h, 2 * w, 2 * h]


def box_overlap(a, b, extra=0.0):
    """IoU of x, y, w, h; with an extra of 1 as pixels with both ends count."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + extra
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + extra
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / ((a[2] + extra) * (a[3] + extra) + (b[2] + extra) * (b[3] + extra) - w * h)


def greedy(overlaps):
    """Pairs by the largest overlap first."""
    pairs, rows, columns = [], set(), set()
    for i, j in sorted(np.ndindex(overlaps.shape), key=lambda p: -overlaps[p]):
        if overlaps[i, j] > 0 and i not in rows and j not in columns:
            pairs.append((i, j))
            rows.add(i)
            columns.add(j)
    return pairs


def by_score(overlaps):
    """Pairs each detection, in the order of scores, with the best face that is left."""
    pairs, rows = [], set()
    for j in range(overlaps.shape[1]):
        free = [i for i in range(overlaps.shape[0]) if i not in rows and overlaps[i, j] > 0]
        if free:
            i = max(free, key=lambda i: overlaps[i, j])
            pairs.append((i, j))
            rows.add(i)
    return pairs


def hungarian(overlaps):
    return list(zip(*linear_sum_assignment(overlaps, maximize=True)))


def fddb(pictures, assign=hungarian, by_masks=True, above=lambda v: v > 0.5, all_pairs=True, per_picture=False):
    """Returns rows of threshold, false positives, discrete and continuous recall, from the highest threshold.

    Like the evaluator, it finds for each picture the pairs at each of its own scores from scratch, then adds the pictures.
    """
    results = []
    for picture in pictures:
        found = sorted(picture["found"], key=lambda f: -f[-1])
        if by_masks:
            faces = [mask(picture["size"], face) for face in picture["faces"]]
            drawn = [mask(picture["size"], f[:-1]) for f in found]
            overlaps = np.array([[mask_overlap(a, b) for b in drawn] for a in faces])
        else:
            overlaps = np.array([[box_overlap(box_of(a), box_of(f[:-1])) for f in found] for a in picture["faces"]])
        overlaps = overlaps.reshape(len(picture["faces"]), len(found))
        own = {}
        for score in sorted({f[-1] for f in found}):
            kept = [j for j, f in enumerate(found) if f[-1] >= score]
            part = overlaps[:, kept]
            pairs = [part[i, j] for i, j in assign(part) if part[i, j] > 0]
            hits = [v for v in pairs if above(v)]
            own[score] = (len(kept) - len(hits), len(hits), sum(pairs if all_pairs else hits))
        results.append((len(picture["faces"]), own))
    count = sum(faces for faces, _ in results)
    rows = []
    for threshold in sorted({score for _, own in results for score in own}, reverse=True):
        total = np.zeros(3)
        for faces, own in results:
            later = [score for score in own if score >= threshold]
            if later:
                false, hits, sum_of = own[min(later)]
                scale = count / len(results) / max(faces, 1) if per_picture else 1
                total += [false, hits * scale, sum_of * scale]
        rows.append([threshold, int(total[0]), total[1] / count, total[2] / count])
    return rows


def recall_at(rows, false):
    within = [row for row in rows if row[1] <= false]
    return [max((row[k] for row in within), default=0.0) for k in (2, 3)]


# WIDER FACE and VOC


def area_under(recall, precision):
    """VOCap.m."""
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([0.0], precision, [0.0]))
    for i in range(precision.size - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    steps = np.where(recall[1:] != recall[:-1])[0]
    return float(np.sum((recall[steps + 1] - recall[steps]) * precision[steps + 1]))


def wider(pictures, subset, enough=lambda v: v >= 0.5, extra=1.0, normalise="submission", ignored="dropped", skip=True,
          repeated="false", order=True, thresholds=1000):
    """Returns the average precision, and recall and precision at each threshold."""
    scores = [f[-1] for p in pictures for f in p["found"]]
    low, high = min(scores), max(scores)
    counted, matched, faces = np.zeros(thresholds), np.zeros(thresholds), 0
    for picture in pictures:
        kept = picture["kept"][subset]
        faces += len(picture["faces"]) if ignored == "missed" else sum(kept)
        if not picture["found"] or (skip and not picture["faces"]):
            continue
        found = sorted(picture["found"], key=lambda f: -f[-1]) if order else picture["found"]
        own = [f[-1] for f in found]
        if normalise == "picture":
            low, high = min(own), max(own)
        if normalise == "none":
            low, high = 0.0, 1.0
        is_found, counts, matches, after = [False] * len(kept), 0, 0, []
        for f in found:
            overlaps = [box_overlap(f[:4], face, extra) for face in picture["faces"]]
            k = int(np.argmax(overlaps)) if overlaps else 0
            if overlaps and enough(overlaps[k]):
                if kept[k] or ignored == "missed":
                    if not is_found[k]:
                        matches += 1
                    if not is_found[k] or repeated == "false":
                        counts += 1
                    is_found[k] = True
                elif ignored == "false":
                    counts += 1
            else:
                counts += 1
            after.append(((f[-1] - low) / (high - low) if high > low else 1.0, counts, matches))
        for t in range(thresholds):
            level = 1 - (t + 1) / thresholds
            last = [a for a in after if a[0] >= level]
            if last:
                counted[t] += last[-1][1]
                matched[t] += last[-1][2]
    precision = np.divide(matched, counted, out=np.zeros(thresholds), where=counted > 0)
    recall = matched / faces
    return area_under(recall, precision), recall, precision


def voc(pictures, enough=lambda v: v >= 0.5, extra=0.0, ignored="dropped", choose="best", area=area_under):
    """Returns the average precision, recall and precision over all detections, and their counts."""
    everything = [(f[-1], k, f[:4]) for k, p in enumerate(pictures) for f in p["found"]]
    everything.sort(key=lambda f: -f[0])
    faces = sum(1 for p in pictures for face in p["faces"] if not face[4] or ignored == "missed")
    is_found = [[False] * len(p["faces"]) for p in pictures]
    hits = []
    for _, k, box in everything:
        overlaps = [box_overlap(box, face[:4], extra) for face in pictures[k]["faces"]]
        if choose == "left":
            overlaps = [-1.0 if taken else v for v, taken in zip(overlaps, is_found[k])]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if overlaps and enough(overlaps[best]):
            if pictures[k]["faces"][best][4] and ignored != "missed":
                if ignored == "false":
                    hits.append(0)
                continue
            hits.append(0 if is_found[k][best] else 1)
            is_found[k][best] = True
        else:
            hits.append(0)
    found = np.cumsum(hits)
    recall, precision = found / faces, found / np.arange(1, len(hits) + 1)
    return area(recall, precision), recall, precision, [faces, int(found[-1]), len(hits) - int(found[-1])]


def eleven_points(recall, precision):
    """VOC 2007."""
    return float(np.mean([max(precision[recall >= t], default=0.0) for t in np.arange(11) / 10]))


def each_step(recall, precision):
    """The area without the envelope."""
    return float(np.sum(np.diff(np.concatenate(([0.0], recall))) * precision))


# Pictures


def ellipse_near(rng, size, faces, tight):
    """Returns an ellipse anywhere, or one that crowds another."""
    if faces and rng.random() < 0.6:
        x, y = (faces[-1][k] + rng.uniform(-tight, tight) for k in (3, 4))
    else:
        x, y = rng.uniform(0, size[1]), rng.uniform(0, size[0])
    major = rng.uniform(8, 28)
    return [round(v, 3) for v in (major, major * rng.uniform(0.6, 0.95), rng.uniform(-1.6, 1.6), x, y)]


def moved(rng, box, amount):
    w, h = box[2], box[3]
    x, y = box[0] + rng.gauss(0, amount) * w, box[1] + rng.gauss(0, amount) * h
    return [round(v, 2) for v in (x, y, w * math.exp(rng.gauss(0, amount)), h * math.exp(rng.gauss(0, amount)))]


def fddb_pictures(rng):
    pictures = []
    for k in range(24):
        size = [rng.randint(60, 110), rng.randint(60, 140)]
        faces = []
        for _ in range(rng.choice([0, 1, 2, 3, 4])):
            faces.append(ellipse_near(rng, size, faces, 14))
        found = []
        for face in faces:
            for _ in range(rng.choice([0, 1, 2, 3])):
                region = moved(rng, box_of(face), 0.14)
                if k % 2:
                    region = [round(v * math.exp(rng.gauss(0, 0.15)), 3) if i < 2 else round(v + rng.gauss(0, 3 if i > 2 else 0.2), 3)
                              for i, v in enumerate(face)]
                found.append(region + [round(rng.uniform(0.3, 1.0), 2)])
        for _ in range(rng.choice([0, 0, 1, 3])):
            found.append([round(rng.uniform(-10, 80), 2), round(rng.uniform(-10, 60), 2), rng.randint(5, 50), rng.randint(5, 50),
                          round(rng.uniform(0.0, 0.8), 2)])
        pictures.append({"size": size, "faces": faces, "found": found})
    # A face of one pixel, and a detection of two: an overlap of exactly a half.
    pictures.append({"size": [40, 40], "faces": [[0.5, 0.5, 0, 20, 20]], "found": [[20, 20, 1, 0, 0.97]]})
    return pictures


def boxes_pictures(rng, with_kept):
    pictures = []
    for k in range(30):
        faces, found = [], []
        for _ in range(rng.choice([0, 1, 2, 4, 7]) if k else 0):
            side = rng.choice([6, 9, 14, 25, 60])
            faces.append([rng.randint(0, 200), rng.randint(0, 150), side, side + rng.randint(0, side // 2)])
            if rng.random() < 0.3:
                near = faces[-1]
                faces.append([near[0] + near[2] // 3, near[1] + 1, near[2], near[3]])
        for face in faces:
            for _ in range(rng.choice([0, 1, 1, 2])):
                # Of each, half are off by whole pixels, so that overlaps come close to a half.
                score = round(min(0.93, max(0.11, 0.5 + 0.15 * math.log(face[2] / 10) + rng.gauss(0, 0.15))), 2 if rng.random() < 0.5 else 4)
                found.append(moved(rng, face, 0.17) + [score])
        for _ in range(rng.choice([0, 1, 2])):
            found.append([rng.randint(0, 200), rng.randint(0, 150), rng.randint(5, 40), rng.randint(5, 40), round(rng.uniform(0.1, 0.7), 3)])
        picture = {"faces": faces, "found": found}
        if with_kept:
            # Beyond 0..1, as of a network without a last sigmoid.
            for f in found:
                f[-1] = round(8 * f[-1] - 3, 4)
            # Cumulative: easy faces are medium, and medium ones are hard.
            picture["kept"] = [[int(face[2] >= least) for face in faces] for least in (25, 14, 9)]
        else:
            picture["faces"] = [face + [int(face[2] < 9 or rng.random() < 0.1)] for face in faces]
        pictures.append(picture)
    if with_kept:
        # Overlaps of exactly a half as pixels count: 10 of 20 columns.
        pictures.append({"faces": [[10, 10, 19, 29], [100, 10, 19, 29]], "kept": [[1, 1]] * 3, "found": [[10, 10, 9, 29, 4.6], [100, 10, 9, 29, 4.28]]})
        # Not sorted: the file's order would give the face to the worse one.
        pictures.append({"faces": [[10, 10, 30, 30]], "kept": [[1]] * 3, "found": [[50, 10, 30, 30, -2.04], [10, 10, 30, 30, 4.52]]})
    else:
        pictures.append({"faces": [[10, 10, 20, 30, 0], [100, 10, 20, 30, 0]], "found": [[10, 10, 10, 30, 0.95], [100, 10, 10, 30, 0.91]]})
        # Two of one face, of which the second also overlaps another by 2/3.
        pictures.append({"faces": [[0, 0, 20, 30, 0], [4, 0, 20, 30, 0]], "found": [[0, 0, 20, 30, 0.92], [0, 0, 20, 30, 0.9]]})
    return pictures


def overlaps(rng):
    """Pairs of an ellipse and another region with the overlap of their masks: also at and beyond the border, tiny and flat ones."""
    pairs = []
    for k in range(240):
        size = [rng.randint(20, 120), rng.randint(20, 150)]
        major = rng.choice([rng.uniform(0, 4), rng.uniform(4, 16), rng.uniform(10, 90)])
        face = [major, major * rng.choice([rng.uniform(0.5, 1.0), rng.uniform(0, 1)]), rng.uniform(-4, 7), rng.uniform(-8, size[1] + 8), rng.uniform(-8, size[0] + 8)]
        face = [round(v, 3) for v in face]
        if k % 2:
            other = [round(v + rng.gauss(0, 0.1 * major + 0.5), 1 if k % 4 == 1 else 3) for v in box_of(face)]
        else:
            other = [round(v * rng.uniform(0.7, 1.3), 3) for v in face]
        pairs.append([size, face, other, mask_overlap(mask(size, face), mask(size, other))])
    return pairs


def main():
    rng = random.Random("detection")
    pairs = overlaps(rng)
    pictures = fddb_pictures(rng)
    rows = fddb(pictures)
    levels = [0, 5, 10, 20, 40]
    wrong = {
        "the largest overlaps first": fddb(pictures, assign=greedy),
        "the highest scores first": fddb(pictures, assign=by_score),
        "overlaps of boxes": fddb(pictures, by_masks=False),
        "0.5 is enough": fddb(pictures, above=lambda v: v >= 0.5),
        "continuous over pairs above 0.5": fddb(pictures, all_pairs=False),
        "means over pictures": fddb(pictures, per_picture=True),
    }
    result = {
        "overlaps": pairs,
        "fddb": {"pictures": pictures, "roc": rows, "levels": levels, "recall": [recall_at(rows, n) for n in levels],
                 "wrong": {name: [recall_at(rows, n) for n in levels] for name, rows in wrong.items()}},
    }

    pictures = boxes_pictures(rng, True)
    right = [wider(pictures, s) for s in range(3)]
    variants = {
        "above 0.5": dict(enough=lambda v: v > 0.5),
        "continuous boxes": dict(extra=0.0),
        "scores of each picture": dict(normalise="picture"),
        "scores as they are": dict(normalise="none"),
        "ignored faces are missed": dict(ignored="missed"),
        "detections of ignored faces are false alarms": dict(ignored="false"),
        "detections in pictures without faces count": dict(skip=False),
        "repeated ones are dropped": dict(repeated="dropped"),
        "the order of the file": dict(order=False),
        "100 thresholds": dict(thresholds=100),
    }
    result["wider"] = {
        "pictures": pictures,
        "ap": [ap for ap, _, _ in right],
        "curve": [[[t, recall[t], precision[t]] for t in range(19, 1000, 60)] for _, recall, precision in right],
        "wrong": {name: [wider(pictures, s, **options)[0] for s in range(3)] for name, options in variants.items()},
    }

    pictures = boxes_pictures(rng, False)
    ap, recall, precision, counts = voc(pictures)
    variants = {
        "above 0.5": dict(enough=lambda v: v > 0.5),
        "whole pixels": dict(extra=1.0),
        "ignored faces are missed": dict(ignored="missed"),
        "detections of ignored faces are false alarms": dict(ignored="false"),
        "the best face that is left": dict(choose="left"),
        "eleven points": dict(area=eleven_points),
        "no envelope": dict(area=each_step),
    }
    result["voc"] = {
        "pictures": pictures, "ap": ap, "counts": counts, "recall": list(recall), "precision": list(precision),
        "ap_at_0.4": voc(pictures, enough=lambda v: v >= 0.4)[0],
        "wrong": {name: voc(pictures, **options)[0] for name, options in variants.items()},
    }
    for part in ("fddb", "wider", "voc"):
        print(part, result[part].get("ap", result[part].get("recall")))
        for name, value in result[part]["wrong"].items():
            print("   ", name, value)

    def text(value, indent=0):
        # One line for each item of the lists, so that changes can be read.
        if isinstance(value, dict) and indent < 3:
            rows = [" " * indent + json.dumps(k) + ": " + text(v, indent + 1) for k, v in value.items()]
            return "{\n" + ",\n".join(rows) + "\n}"
        if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
            return "[\n" + ",\n".join(json.dumps(v) for v in value) + "\n]"
        return json.dumps(value)

    OUT.write_text(text(result) + "\n")


if __name__ == "__main__":
    main()
