// Why a job ended or moved: the page's sentences for what kervan says, the words of others as they are.
import { hasKey, translate, type Lang } from "./i18n";
import type { Job, Step } from "./queues";

/** Ends that kervan gives: their detail is the same sentence in Turkish. */
const ownEnds = ["stuck", "job_deadline", "evicted"];

function sentenceOf(lang: Lang, code: string): string {
    for (const key of [`job.err.${code}`, `err.${code}`]) {
        if (!hasKey(key)) continue;
        const sentence = translate(lang, key);
        if (!sentence.includes("{")) return sentence; // else made for an upload, whose sizes no job has
    }
    return "";
}

export function whyOf(lang: Lang, job: Pick<Job, "error" | "error_detail">): string {
    const code = job.error ?? "";
    const known = sentenceOf(lang, code);
    return [known, known && ownEnds.includes(code) ? "" : job.error_detail].filter(Boolean).join(" ") || code;
}

/** Why an attempt failed that was not the last one. */
export function failureOf(lang: Lang, step: Pick<Step, "error" | "error_detail">): string {
    return step.error ? whyOf(lang, { error: step.error, error_detail: step.error_detail ?? null }) : "";
}

export function reasonOf(lang: Lang, step: Pick<Step, "reason">): string {
    const key = `why.${(step.reason ?? "").toLowerCase().replace(/[^a-z0-9]+/g, "_")}`;
    return hasKey(key) ? translate(lang, key) : (step.reason ?? "");
}
