// ThumbHash placeholders, decoded after the published description of the format: a header of averages, scales and the
// number of cosine terms, then the terms as 4-bit numbers, row by row of a triangle; luminance, yellow-blue, red-green, alpha.

export interface Pixels {
    width: number;
    height: number;
    rgba: Uint8ClampedArray;
}

const SIDE = 32; // pixels of the longer edge

/** Reads 4-bit terms, low nibble first. */
class Nibbles {
    private at = 0;
    constructor(
        private readonly bytes: Uint8Array,
        private readonly start: number,
    ) {}
    next(): number {
        const byte = this.bytes[this.start + (this.at >> 1)];
        if (byte === undefined) throw new RangeError("thumbhash ends early");
        return this.at++ & 1 ? byte >> 4 : byte & 15;
    }
}

interface Term {
    x: number;
    y: number;
    value: number;
}

/** The terms of one channel, without its average: the triangle x/nx + y/ny < 1. */
function readTerms(from: Nibbles, nx: number, ny: number, scale: number): Term[] {
    const terms: Term[] = [];
    for (let y = 0; y < ny; y++)
        for (let x = y === 0 ? 1 : 0; x * ny < nx * (ny - y); x++)
            terms.push({ x, y, value: (from.next() / 7.5 - 1) * scale });
    return terms;
}

/** cosines[frequency][pixel] for one axis. */
function cosines(frequencies: number, pixels: number): Float64Array[] {
    return Array.from({ length: frequencies }, (_, f) =>
        Float64Array.from({ length: pixels }, (_, p) => Math.cos((Math.PI / pixels) * f * (p + 0.5))),
    );
}

export function fromBase64(text: string): Uint8Array {
    const raw = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

/** The picture a hash stands for, at most 32 pixels a side. Throws RangeError on a hash that is too short. */
export function decode(hash: Uint8Array): Pixels {
    if (hash.length < 5) throw new RangeError("thumbhash too short");
    const [h0, h1, h2, h3, h4, h5 = 0] = hash as unknown as number[] as [number, number, number, number, number, number];
    const head = h0 | (h1 << 8) | (h2 << 16);
    const more = h3 | (h4 << 8);
    const hasAlpha = (head >> 23) & 1;
    const landscape = more >> 15;
    const short = more & 7;
    const long = hasAlpha ? 5 : 7;
    const nx = Math.max(3, landscape ? long : short);
    const ny = Math.max(3, landscape ? short : long);

    const average = {
        l: (head & 63) / 63,
        p: ((head >> 6) & 63) / 31.5 - 1,
        q: ((head >> 12) & 63) / 31.5 - 1,
        a: hasAlpha ? (h5 & 15) / 15 : 1,
    };
    // Colour terms were stored a quarter weaker than they are.
    const from = new Nibbles(hash, hasAlpha ? 6 : 5);
    const l = readTerms(from, nx, ny, ((head >> 18) & 31) / 31);
    const p = readTerms(from, 3, 3, (((more >> 3) & 63) / 63) * 1.25);
    const q = readTerms(from, 3, 3, (((more >> 9) & 63) / 63) * 1.25);
    const a = hasAlpha ? readTerms(from, 5, 5, (h5 >> 4) / 15) : [];

    const ratio = (landscape ? long : Math.max(1, short)) / (landscape ? Math.max(1, short) : long);
    const width = Math.max(1, Math.round(ratio > 1 ? SIDE : SIDE * ratio));
    const height = Math.max(1, Math.round(ratio > 1 ? SIDE / ratio : SIDE));
    const cx = cosines(7, width);
    const cy = cosines(7, height);
    const at = (base: number, terms: Term[], px: number, py: number) => {
        let sum = base;
        for (const t of terms) sum += 2 * t.value * cx[t.x]![px]! * cy[t.y]![py]!;
        return sum;
    };

    const rgba = new Uint8ClampedArray(width * height * 4);
    for (let y = 0, i = 0; y < height; y++)
        for (let x = 0; x < width; x++, i += 4) {
            const L = at(average.l, l, x, y);
            const P = at(average.p, p, x, y);
            const Q = at(average.q, q, x, y);
            // l = (r+g+b)/3, p = (r+g)/2 - b, q = r - g, solved for r, g, b.
            const blue = L - (2 / 3) * P;
            const red = (3 * L - blue + Q) / 2;
            rgba[i] = 255 * red;
            rgba[i + 1] = 255 * (red - Q);
            rgba[i + 2] = 255 * blue;
            rgba[i + 3] = 255 * at(average.a, a, x, y);
        }
    return { width, height, rgba };
}

const cache = new Map<string, string | null>();

/** A data: URL for a CSS background, made once per hash; null when the hash is damaged or there is no canvas. */
export function thumbUrl(base64: string): string | null {
    const known = cache.get(base64);
    if (known !== undefined) return known;
    let url: string | null = null;
    try {
        const { width, height, rgba } = decode(fromBase64(base64));
        const canvas = document.createElement("canvas");
        canvas.width = width;
        canvas.height = height;
        const ctx = canvas.getContext("2d");
        if (ctx) {
            const image = ctx.createImageData(width, height);
            image.data.set(rgba);
            ctx.putImageData(image, 0, 0);
            url = canvas.toDataURL();
        }
    } catch {
        url = null; // a bad placeholder is no placeholder
    }
    if (cache.size > 2000) cache.clear();
    cache.set(base64, url);
    return url;
}
