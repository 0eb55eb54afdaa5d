import { useEffect, useRef } from "preact/hooks";
import { fmtNumber, fmtSpan, fmtTime } from "../i18n";
import type { Job, Step } from "../queues";
import { useSelect, useUi } from "./context";
import { CopyButton } from "./copy";
import { Icon } from "./icons";
import { JobAction, JobBadge, useStanding } from "./jobs";
import { failureOf, reasonOf, whyOf } from "../reasons";
import { Modal } from "./modal";

/** One job, at #/jobs/ID: where it is, what happened to it, what it carries. */
export function JobDetail() {
    const id = useSelect((s) => s.queues.open);
    return id ? <Opened id={id} /> : null;
}

function Opened({ id }: { id: string }) {
    const { app } = useUi();
    const { t } = app;
    const job = useSelect((s) => s.queues.job);
    const problem = useSelect((s) => s.queues.jobProblem);
    const close = useRef<HTMLButtonElement>(null);
    useEffect(() => close.current?.focus(), []);
    return (
        <Modal class="job-dialog" label={t("job.title", { id })} testid="job-detail" onClose={() => app.queues.open(null)}>
            <header class="detail-head">
                <h2>
                    <span class="job-id">{id}</span>
                </h2>
                {job && <JobBadge job={job} />}
                <CopyButton text={id} label={t("job.copy")} />
                <button type="button" class="btn btn-quiet btn-icon" ref={close} data-testid="job-close" aria-label={t("detail.close")} onClick={() => app.queues.open(null)}>
                    <Icon name="close" />
                </button>
            </header>
            <div class="job-body">
                {problem && (
                    <p class="error-text" role="alert" data-testid="job-problem">
                        {problem.status === 404 ? t("job.gone") : app.problem(problem)}
                    </p>
                )}
                {job ? <Body job={job} /> : !problem && <p class="quiet">{t("list.loading")}</p>}
            </div>
        </Modal>
    );
}

function Body({ job }: { job: Job }) {
    const { app, lang } = useUi();
    const { t } = app;
    const standing = useStanding()(job);
    const facts: [string, string | null][] = [
        [t("job.queue"), job.service],
        [t("job.lane"), t(`lane.${job.lane}`)],
        [t("job.attempts"), `${job.attempts} / ${job.max_attempts}`],
        [t("job.created"), fmtTime(lang, job.created_at)],
        [t("job.updated"), fmtTime(lang, job.updated_at)],
        [t("job.user"), job.user],
        [t("job.tenant"), job.tenant],
        [t("job.tags"), job.tags?.join(", ") || null],
        [t("job.notBefore"), job.not_before && fmtTime(lang, job.not_before)],
        [t("job.deadline"), job.deadline && fmtTime(lang, job.deadline)],
    ];
    return (
        <>
            <p class="job-standing" role="status" data-testid="job-now">
                {job.status === "processing" && <progress max={100} value={job.progress} aria-label={t("job.progress", { n: job.progress })} />}
                <span>{standing || t(`job.status.${job.status}`)}</span>
                <JobAction job={job} />
            </p>
            {job.error && (
                <p class="job-error" data-testid="job-error">
                    <b>{job.error}</b> {whyOf(lang, job)}
                </p>
            )}
            <p class="job-links">
                {job.retry_of && <a href={`#/jobs/${job.retry_of}`}>{t("job.retryOf")}</a>}
                {job.retried_by && <a href={`#/jobs/${job.retried_by}`}>{t("job.retriedBy")}</a>}
            </p>
            <div class="job-columns">
                <section>
                    <h3>{t("job.history")}</h3>
                    <History steps={job.history ?? []} ended={job.error !== null} />
                </section>
                <section>
                    <h3>{t("job.facts")}</h3>
                    <dl class="qfacts job-facts">
                        {facts.map(
                            ([name, value]) =>
                                value && (
                                    <div key={name}>
                                        <dt>{name}</dt>
                                        <dd>{value}</dd>
                                    </div>
                                ),
                        )}
                    </dl>
                </section>
            </div>
            <Value name={t("job.params")} value={job.params} />
            <Value name={t("job.metadata")} value={job.metadata} />
            <Value name={t("job.result")} value={job.result} />
        </>
    );
}

/** `ended`: the job says itself what its last step failed of. */
function History({ steps, ended }: { steps: readonly Step[]; ended: boolean }) {
    const { app, lang } = useUi();
    return (
        <ol class="history" data-testid="job-history">
            {steps.map((step, i) => step.left_out ? (
                <li key={i} class="step step-out" data-testid="step-out">
                    <b>{app.t("job.leftOut", { n: fmtNumber(lang, step.left_out) })}</b>
                    <time dateTime={step.at}>{fmtTime(lang, step.at)}</time>
                </li>
            ) : (
                <li key={i} class={`step job-${step.status}`}>
                    <b>{app.t(`job.status.${step.status}`)}</b>
                    <time dateTime={step.at}>{fmtTime(lang, step.at)}</time>
                    <span class="quiet">
                        {[i > 0 ? `+${fmtSpan(lang, steps[i - 1]!.at, step.at)}` : "", step.attempt > 0 ? app.t("job.attempt", { n: step.attempt }) : "", step.worker, reasonOf(lang, step)].filter(Boolean).join(" · ")}
                    </span>
                    {step.error && !(ended && i === steps.length - 1) && (
                        <span class="step-error" data-testid="step-error">
                            <b>{step.error}</b> {failureOf(lang, step)}
                        </span>
                    )}
                </li>
            ))}
        </ol>
    );
}

function Value({ name, value }: { name: string; value: unknown }) {
    if (value === null || value === undefined) return null;
    return (
        <section>
            <h3>{name}</h3>
            <pre tabIndex={0}>{JSON.stringify(value, null, 2)}</pre>
        </section>
    );
}
