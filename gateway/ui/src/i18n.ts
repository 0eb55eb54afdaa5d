// Language: which one, and numbers, sizes and times in it. The sentences are in words.ts.
import { words, type Key, type Sentence } from "./words";

export type Lang = "tr" | "en";
export type Vars = Record<string, string | number>;
export type { Key };

/** Turkish unless the browser says English; a choice made with the switch wins. */
export function pickLang(stored: string | null, navigatorLanguage: string | undefined): Lang {
    if (stored === "tr" || stored === "en") return stored;
    return navigatorLanguage?.toLowerCase().startsWith("en") ? "en" : "tr";
}

/** Fills {name} in a sentence. */
export function translate(lang: Lang, key: Key, vars: Vars = {}): string {
    const [tr, en, one]: Sentence = words[key] ?? [key, key];
    const sentence = lang === "tr" ? tr : vars["n"] === 1 && one ? one : en;
    return sentence.replace(/\{(\w+)\}/g, (all, name: string) => {
        const value = vars[name];
        return value === undefined ? all : typeof value === "number" ? fmtNumber(lang, value) : value;
    });
}

export function hasKey(key: string): key is Key {
    return Object.prototype.hasOwnProperty.call(words, key);
}

const locale: Record<Lang, string> = { tr: "tr-TR", en: "en-GB" };

export function fmtNumber(lang: Lang, n: number, digits = 0): string {
    return n.toLocaleString(locale[lang], { maximumFractionDigits: digits });
}

/** 1 KB = 1024 bytes, as the server counts MAX_UPLOAD_SIZE_MB. */
export function fmtBytes(lang: Lang, bytes: number): string {
    const units = ["B", "KB", "MB", "GB", "TB"];
    let unit = 0;
    let n = bytes;
    while (n >= 1024 && unit < units.length - 1) {
        n /= 1024;
        unit++;
    }
    return `${fmtNumber(lang, n, unit > 0 && n < 100 ? 1 : 0)} ${units[unit]}`;
}

/** A size beside another one: to the byte where both would read the same. */
export function fmtBytesBeside(lang: Lang, bytes: number, other?: number): string {
    const text = fmtBytes(lang, bytes);
    return other !== undefined && bytes !== other && text === fmtBytes(lang, other) ? `${fmtNumber(lang, bytes)} B` : text;
}

export function fmtPercent(lang: Lang, percent: number): string {
    return (percent / 100).toLocaleString(locale[lang], { style: "percent" });
}

export function fmtTime(lang: Lang, text: string | null): string {
    const when = text ? new Date(text) : null;
    if (!when || Number.isNaN(when.getTime())) return "–";
    return when.toLocaleString(locale[lang], { dateStyle: "medium", timeStyle: "medium" });
}

/** "1,4 sn", "3 sa": time between two stamps, empty if either is missing. */
export function fmtSpan(lang: Lang, from: string | null, to: string | null): string {
    const ms = from && to ? Date.parse(to) - Date.parse(from) : NaN;
    return ms >= 0 ? fmtMs(lang, ms) : "";
}

/** A rough time to wait: "12 sn", "3 dk". */
export function fmtSeconds(lang: Lang, seconds: number): string {
    if (seconds < 60) return `${fmtNumber(lang, Math.max(1, Math.ceil(seconds)))} ${lang === "tr" ? "sn" : "s"}`;
    if (seconds < 3600) return `${fmtNumber(lang, Math.ceil(seconds / 60))} ${lang === "tr" ? "dk" : "min"}`;
    return `${fmtNumber(lang, seconds / 3600, 1)} ${lang === "tr" ? "sa" : "h"}`;
}

/** "12 ms", "1,4 sn", "3 dk". */
export function fmtMs(lang: Lang, ms: number): string {
    if (ms < 1000) return `${fmtNumber(lang, ms)} ms`;
    if (ms < 60_000) return `${fmtNumber(lang, ms / 1000, ms < 10_000 ? 1 : 0)} ${lang === "tr" ? "sn" : "s"}`;
    return fmtSeconds(lang, ms / 1000);
}
