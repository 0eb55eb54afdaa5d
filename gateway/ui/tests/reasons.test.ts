import assert from "node:assert/strict";
import { test } from "node:test";
import { hasKey } from "../src/i18n";
import { failureOf, reasonOf, whyOf } from "../src/reasons";

test("the reason of an error is in the language of the page, with what the worker said", () => {
    assert.equal(whyOf("en", { error: "attempts_exhausted", error_detail: "internal: worker silent" }), "All attempts failed. internal: worker silent");
    assert.equal(whyOf("en", { error: "job_deadline", error_detail: "İşlem, son başlama zamanından önce başlatılamadı." }), "The job was not begun before its deadline.");
    assert.equal(whyOf("tr", { error: "evicted", error_detail: "Kuyruk dolduğu için …" }), "Kuyruk dolduğu için bu iş yerini yenisine bıraktı.");
    assert.equal(whyOf("en", { error: "too_large", error_detail: "9 MB of 5" }), "9 MB of 5", "a sentence made for uploads would show {size}");
    assert.equal(whyOf("en", { error: "E_OF_THE_WORKER", error_detail: null }), "E_OF_THE_WORKER");
});

test("whatever ends a picture has a sentence in both languages", () => {
    const ends = ["attempts_exhausted", "bad_image", "cancelled", "evicted", "image_crash", "image_limit", "image_too_big", "internal", "io", "job_deadline", "job_timeout", "no_memory", "stuck"];
    for (const code of ends) assert.ok(hasKey(`err.${code}`), code);
});

test("the steps of a job say why in the language of the page, the words of others stay", () => {
    assert.equal(reasonOf("tr", { reason: "worker silent" }), "işçiden ses gelmedi");
    assert.equal(reasonOf("en", { reason: "evicted: the queue was full" }), "the queue was full; it made room");
    assert.equal(reasonOf("tr", { reason: "because I said so" }), "because I said so");
    assert.equal(reasonOf("tr", {}), "");
});

test("a failed attempt says why, in the language of the page", () => {
    assert.equal(failureOf("en", { error: "internal", error_detail: "no disk" }), "An unknown error happened. Please try again. no disk");
    assert.equal(failureOf("en", { error: "E_OWN" }), "E_OWN");
    assert.equal(failureOf("en", {}), "");
    assert.equal(reasonOf("tr", { reason: "failed, not to be tried again" }), "başarısız oldu, yeniden denenmeyecek");
});
