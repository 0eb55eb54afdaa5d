// Builds the page: node build.mjs --outdir DIR. Writes DIR/index.html and DIR/assets/<name>-<hash>.{js,css,svg}.
// Everything the page needs is in there: no inline script or style, no foreign host (the gateway's CSP forbids both).
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import * as esbuild from "esbuild";

const BUDGET = 50_000; // bytes, gzip, all files together
const here = path.dirname(fileURLToPath(import.meta.url));

function outdirArgument(argv) {
    const at = argv.indexOf("--outdir");
    if (at < 0 || !argv[at + 1]) {
        console.error("usage: node build.mjs --outdir DIR");
        process.exit(2);
    }
    return path.resolve(argv[at + 1]);
}

/** Runs esbuild and returns its files in memory; names are relative to the output folder. */
async function bundle() {
    const result = await esbuild.build({
        absWorkingDir: here,
        entryPoints: { app: "src/main.tsx", styles: "src/styles.css", icon: "src/icon.svg" },
        entryNames: "assets/[name]-[hash]",
        outdir: "out",
        bundle: true,
        write: false,
        minify: true,
        charset: "utf8",
        legalComments: "none",
        format: "esm",
        target: ["es2021", "chrome109", "firefox115", "safari16"],
        loader: { ".svg": "copy" },
        jsx: "automatic",
        jsxImportSource: "preact",
        define: { "process.env.NODE_ENV": '"production"' },
        logLevel: "warning",
    });
    const root = path.join(here, "out");
    return result.outputFiles.map((f) => ({
        name: path.relative(root, f.path).split(path.sep).join("/"),
        bytes: f.contents,
    }));
}

function assetFor(files, stem, ext) {
    const found = files.find((f) => new RegExp(`^assets/${stem}-[A-Z0-9]{8}\\.${ext}$`).test(f.name));
    if (!found) throw new Error(`no ${stem}.${ext} among ${files.map((f) => f.name).join(", ")}`);
    return `/${found.name}`;
}

const outdir = outdirArgument(process.argv.slice(2));
const files = await bundle();
const template = await readFile(path.join(here, "src", "index.html"), "utf8");
const html = template
    .replace("{{script}}", assetFor(files, "app", "js"))
    .replace("{{styles}}", assetFor(files, "styles", "css"))
    .replace("{{icon}}", assetFor(files, "icon", "svg"));
files.push({ name: "index.html", bytes: Buffer.from(html) });

// Old hashes must not pile up in the folder the gateway serves.
await rm(path.join(outdir, "assets"), { recursive: true, force: true });
await mkdir(path.join(outdir, "assets"), { recursive: true });
let total = 0;
for (const file of files) {
    await writeFile(path.join(outdir, file.name), file.bytes);
    const packed = gzipSync(file.bytes, { level: 9 }).length;
    total += packed;
    console.log(`${file.name.padEnd(32)} ${String(file.bytes.length).padStart(7)} B  ${String(packed).padStart(6)} B gz`);
}
console.log(`${"total".padEnd(32)} ${" ".repeat(9)}  ${String(total).padStart(6)} B gz (budget ${BUDGET})`);
if (total > BUDGET) {
    console.error("the page is over its budget");
    process.exit(1);
}
