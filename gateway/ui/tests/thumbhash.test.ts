import assert from "node:assert/strict";
import { test } from "node:test";
import { decode, fromBase64, thumbUrl } from "../src/thumbhash";

// Pixels of the reference decoder at the corners and in the middle; it cuts where we round.
const known: [string, number, number, [number, number, number[]][]][] = [
    ["3OcRJYB4d3h/iIeHeEh3eIhw+j3A", 32, 23, [[0, 0, [124, 136, 159, 255]], [31, 0, [124, 136, 159, 255]], [16, 11, [112, 124, 139, 255]], [31, 22, [86, 99, 46, 255]]]],
    ["2FgKJYyJd3d2d3eAh0h3eIhwgQdX", 32, 23, [[0, 0, [0, 37, 61, 255]], [31, 0, [5, 45, 70, 255]], [16, 11, [179, 111, 85, 255]], [31, 22, [126, 53, 58, 255]]]],
    ["F7iFIw5JUlB4eHdSUCj1io91h3h4iHg=", 19, 32, [[0, 0, [15, 27, 111, 255]], [18, 0, [107, 63, 89, 79]], [9, 16, [94, 115, 88, 128]], [18, 31, [97, 148, 73, 80]]]],
];

for (const [hash, width, height, points] of known)
    test(`decodes ${hash}`, () => {
        const image = decode(fromBase64(hash));
        assert.deepEqual([image.width, image.height], [width, height]);
        for (const [x, y, want] of points) {
            const at = (y * width + x) * 4;
            want.forEach((value, i) => assert.ok(Math.abs(image.rgba[at + i]! - value) <= 1, `${x},${y}[${i}]: ${image.rgba[at + i]} for ${value}`));
        }
    });

test("a damaged hash is an error, not a picture", () => {
    assert.throws(() => decode(new Uint8Array(0)), RangeError);
    assert.throws(() => decode(fromBase64("3OcRJYB4")), RangeError);
    assert.equal(thumbUrl("!!"), null);
    assert.equal(thumbUrl("3OcRJYB4"), null);
});

test("no bytes crash it", () => {
    let seed = 1;
    for (let round = 0; round < 500; round++) {
        const bytes = Uint8Array.from({ length: 40 }, () => (seed = (seed * 48271) % 2147483647) & 255);
        const image = decode(bytes);
        assert.ok(image.width >= 1 && image.width <= 32 && image.height >= 1 && image.height <= 32);
    }
});
