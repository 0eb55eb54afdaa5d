import assert from "node:assert/strict";
import { test } from "node:test";
import { parseProblem, parseRetryAfter, problemText } from "../src/api";
import { clipBytes, extension, folderValid, kindOf, originalShows, precheck, savedPercent, sourcesFor, type Config } from "../src/model";

test("folders follow the server's rule", () => {
    for (const good of ["", "banners", "haber/2026", "a/b/c/d", "_x-1"]) assert.ok(folderValid(good), good);
    for (const bad of ["Haber", "a/", "/a", "a//b", "a/b/c/d/e", "-a", "../a", "ş", "a b", "static", "con", "a/com1", "x".repeat(65), ".tmp"]) assert.ok(!folderValid(bad), bad);
});

const config: Config = { max_upload_bytes: 100, allowed_mime_types: ["image/jpeg"], allowed_extensions: ["jpg", "jpeg"], processing_enabled: true, version: "1" };

test("what will be refused is said before it is sent", () => {
    assert.equal(precheck({ name: "a.jpg", size: 100, type: "" }, config), null);
    assert.equal(precheck({ name: "a.JPG", size: 1, type: "" }, config), null);
    assert.equal(precheck({ name: "a.jpg", size: 101, type: "" }, config), "too_large");
    assert.equal(precheck({ name: "a.jpg", size: 0, type: "" }, config), "empty_file");
    assert.equal(precheck({ name: "a.exe", size: 5, type: "image/jpeg" }, config), "type_refused");
    assert.equal(precheck({ name: "a.exe", size: 5, type: "" }, null), null);
});

test("text is cut between characters", () => {
    assert.equal(clipBytes("şşş", 5), "şş");
    assert.equal(clipBytes("a😀b", 4), "a");
    assert.equal(clipBytes("abc", 100), "abc");
});

test("extensions and kinds", () => {
    assert.equal(extension("a.tar.GZ"), "gz");
    assert.equal(extension(".htaccess"), "");
    assert.equal(extension("noname"), "");
    assert.equal(kindOf("application/pdf"), "pdf");
    assert.equal(kindOf("image/png"), "image");
    assert.equal(kindOf("application/x-foo"), "file");
    assert.ok(!originalShows("image/heic"));
    assert.equal(savedPercent(1000, 160), 84);
    assert.equal(savedPercent(972_000, 194), 99);
    assert.equal(savedPercent(0, 10), 0);
    assert.equal(savedPercent(100, 120), -20);
});

const variant = (format: string, width: number) => ({ format, width, height: width, size: width, url: `/${format}-${width}` });

test("sources: AVIF first, sorted by width", () => {
    const sources = sourcesFor([variant("webp", 640), variant("avif", 640), variant("avif", 320), variant("webp", 320)], 500);
    assert.deepEqual(sources, [
        { type: "image/avif", srcset: "/avif-320 320w, /avif-640 640w" },
        { type: "image/webp", srcset: "/webp-320 320w, /webp-640 640w" },
    ]);
});

test("sources: a format too small for the slot gives way to a larger one", () => {
    const variants = [variant("avif", 320), variant("webp", 320), variant("webp", 2000)];
    assert.deepEqual(sourcesFor(variants, 1600).map((s) => s.type), ["image/webp"]);
    assert.deepEqual(sourcesFor(variants, 300).map((s) => s.type), ["image/avif", "image/webp"]);
    assert.deepEqual(sourcesFor([], 300), []);
});

test("problem+json: our sentence by code, else the server's, else the status", () => {
    const body = JSON.stringify({ type: "about:blank", title: "T", status: 422, code: "type_mismatch", detail: "D" });
    const problem = parseProblem(422, body, null, 0);
    assert.equal(problemText("en", problem), "The content does not match the extension of the file.");
    assert.equal(problemText("tr", { ...problem, code: "new_code" }), "D");
    assert.equal(problemText("en", parseProblem(418, "<html>", null, 0)), "An unexpected answer came (418).");
    assert.equal(problemText("en", parseProblem(504, "<html>", null, 0)), "The server is not answering now. Try again in a few seconds.");
    assert.equal(problemText("en", parseProblem(413, "<html>", null, 0)), "The proxy in front of the server lets no file of this size through.");
    assert.equal(parseProblem(429, JSON.stringify({ code: "Rate limit" }), "7", 0).code, "rate_limit");
    assert.equal(problemText("en", parseProblem(413, JSON.stringify({ code: "too_large", detail: "Too large." }), null, 0)), "Too large.", "without the sizes the server's words are better");
    assert.equal(problemText("en", parseProblem(413, JSON.stringify({ code: "too_large" }), null, 0), { size: "9 MB", max: "5 MB" }), "The file is too large: 9 MB. The limit is 5 MB.");
});

test("Retry-After in seconds and as a date", () => {
    assert.equal(parseRetryAfter(null, 0), null);
    assert.equal(parseRetryAfter("12", 0), 12);
    assert.equal(parseRetryAfter("Thu, 01 Jan 1970 00:00:10 GMT", 4500), 6);
    assert.equal(parseRetryAfter("soon", 0), null);
});
