// Bundles tests/*.test.ts(x) with esbuild and runs them with node --test.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

// What Node has since 20 and Debian's Node 18 has not: no test shall come to need it.
const newer = ["File", "CustomEvent", "CloseEvent", "WebSocket", "navigator", "crypto"];
const here = path.dirname(fileURLToPath(import.meta.url));
const tests = readdirSync(path.join(here, "tests")).filter((n) => /\.test\.tsx?$/.test(n));
// Inside node_modules, so that the bundles still find happy-dom there.
const out = mkdtempSync(path.join(here, "node_modules", ".tests-"));
let status = 1;
try {
    await esbuild.build({
        absWorkingDir: here,
        entryPoints: tests.map((n) => `tests/${n}`),
        outdir: out,
        outExtension: { ".js": ".mjs" },
        bundle: true,
        platform: "node",
        format: "esm",
        target: "node18",
        external: ["happy-dom"],
        banner: { js: `for (const name of ${JSON.stringify(newer)}) delete globalThis[name];` },
        jsx: "automatic",
        jsxImportSource: "preact",
        sourcemap: "inline",
        logLevel: "warning",
    });
    const bundles = readdirSync(out).map((n) => path.join(out, n));
    const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...bundles], { stdio: "inherit" });
    status = run.status ?? 1;
} finally {
    rmSync(out, { recursive: true, force: true });
}
process.exit(status);
