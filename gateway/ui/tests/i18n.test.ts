import assert from "node:assert/strict";
import { test } from "node:test";
import { fmtBytes, fmtPercent, fmtSeconds, fmtSpan, pickLang, translate } from "../src/i18n";
import { words, type Sentence } from "../src/words";

const gaps = (text: string) => [...text.matchAll(/\{\w+\}/g)].map((m) => m[0]).sort();

test("no sentence is empty, and each has the same gaps in both languages", () => {
    for (const [key, [tr, en, one = en]] of Object.entries<Sentence>(words)) {
        for (const text of [tr, en, one]) assert.ok(text.trim(), key);
        assert.deepEqual(gaps(en), gaps(tr), key);
        assert.ok(one === en || gaps(en).includes("{n}"), key);
    }
});

/* S0-21 */
test("the state is called işleniyor, to the letter", () => {
    assert.equal(translate("tr", "status.PENDING"), "işleniyor");
});

test("Turkish is the default, English where the browser says so, the switch wins", () => {
    assert.equal(pickLang(null, undefined), "tr");
    assert.equal(pickLang(null, "de-DE"), "tr");
    assert.equal(pickLang(null, "en-US"), "en");
    assert.equal(pickLang("tr", "en-US"), "tr");
    assert.equal(pickLang("xx", "en-US"), "en");
});

test("values are filled in, with the singular where there is one", () => {
    assert.equal(translate("en", "lib.count", { n: 1 }), "1 file");
    assert.equal(translate("en", "lib.count", { n: 1200 }), "1,200 files");
    assert.equal(translate("tr", "lib.count", { n: 1200 }), "1.200 dosya");
    assert.equal(translate("tr", "say.stored", { name: "{name}" }), "{name} yüklendi.");
});

test("sizes, times and percents follow the language", () => {
    assert.equal(fmtBytes("tr", 0), "0 B");
    assert.equal(fmtBytes("tr", 1536), "1,5 KB");
    assert.equal(fmtBytes("en", 52428800), "50 MB");
    assert.equal(fmtPercent("tr", 84), "%84");
    assert.equal(fmtPercent("en", 84), "84%");
    assert.equal(fmtSeconds("tr", 0.2), "1 sn");
    assert.equal(fmtSeconds("en", 61), "2 min");
    assert.equal(fmtSpan("tr", "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.440Z"), "1,4 sn");
    assert.equal(fmtSpan("tr", "2026-01-01T00:00:00.000Z", "2026-01-02T01:30:00.000Z"), "25,5 sa", "nobody counts 91.800 seconds");
    assert.equal(fmtSpan("tr", null, "2026-01-01T00:00:01Z"), "");
});
