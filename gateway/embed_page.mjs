// node embed_page.mjs DIR OUT.c: puts the built page (DIR/index.html, DIR/assets/*) into a C file, see page.h.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";

const TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
};

const [dir, out] = process.argv.slice(2);
if (!dir || !out) {
    console.error("usage: node embed_page.mjs DIR OUT.c");
    process.exit(2);
}

const names = ["index.html", ...readdirSync(path.join(dir, "assets")).sort().map((n) => `assets/${n}`)];
const array = (name, bytes) =>
    `static const unsigned char ${name}[] = {${Array.from(bytes).join(",").replace(/(.{1,110}),/g, "$1,\n")}};\n`;

let text = '/* Made by gateway/embed_page.mjs. */\n#include "gateway/page.h"\n\n';
let rows = "";
names.forEach((name, i) => {
    const type = TYPES[path.extname(name)];
    if (!type) throw new Error(`${name}: no type for this extension`);
    if (!/^[A-Za-z0-9._\/-]+$/.test(name)) throw new Error(`${name}: odd name`);
    const bytes = readFileSync(path.join(dir, name));
    const packed = gzipSync(bytes, { level: 9 });
    const smaller = packed.length < bytes.length;
    const tag = createHash("sha256").update(bytes).digest("hex").slice(0, 32);
    text += array(`plain_${i}`, bytes);
    if (smaller) text += array(`gzip_${i}`, packed);
    rows += `    {"${name}", "${type}", "\\"${tag}\\"", plain_${i}, sizeof(plain_${i}), `;
    rows += smaller ? `gzip_${i}, sizeof(gzip_${i})},\n` : "NULL, 0},\n";
});
text += `\nconst kv_page_file kv_page_files[] = {\n${rows}    {NULL, NULL, NULL, NULL, 0, NULL, 0}};\n`;
writeFileSync(out, text);
