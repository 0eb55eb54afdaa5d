import { useState } from "preact/hooks";
import { fmtSeconds, fmtTime } from "../i18n";
import { jobStatuses, lanes, unfinished, type Job, type JobFilter } from "../queues";
import { whyOf } from "../reasons";
import { useSelect, useUi } from "./context";
import { Icon } from "./icons";

/** Where a job stands, in a few words. */
export function useStanding(): (job: Job) => string {
    const { app, lang } = useUi();
    return (job) => {
        if (job.status === "processing") return job.progress > 0 ? app.t("job.progress", { n: job.progress }) : "";
        if (job.status !== "queued") return "";
        if (job.queue_position === null) return job.not_before ? app.t("job.delayed") : "";
        const place = app.t("status.place", { n: job.queue_position });
        const eta = job.eta_seconds;
        return eta ? `${place} · ${app.t("job.eta", { low: fmtSeconds(lang, eta[0]), high: fmtSeconds(lang, eta[1]) })}` : place;
    };
}

export function JobBadge({ job }: { job: Job }) {
    const { app } = useUi();
    return (
        <span class={`badge job-${job.status}`} data-testid="job-status" data-status={job.status}>
            {app.t(`job.status.${job.status}`)}
        </span>
    );
}

/** Jobs as filtered, newest first; waiting ones with their place, live. */
export function Jobs() {
    const { app } = useUi();
    const { t } = app;
    const jobs = useSelect((s) => s.queues.jobs);
    const loaded = useSelect((s) => s.queues.loaded);
    const loading = useSelect((s) => s.queues.loading);
    const next = useSelect((s) => s.queues.next);
    const problem = useSelect((s) => s.queues.jobsProblem);
    return (
        <section aria-labelledby="jobs">
            <div class="toolbar">
                <h2 id="jobs" tabIndex={-1}>
                    {t("job.list")}
                </h2>
                <Filters />
            </div>
            {problem && (
                <p class="error-text" role="alert">
                    {app.problem(problem)}
                </p>
            )}
            <div class="jobs-frame" aria-busy={!loaded}>
                <table class="jobs" role="table">
                    <thead>
                        <tr>
                            <th scope="col">{t("job.state")}</th>
                            <th scope="col">{t("job.id")}</th>
                            <th scope="col">{t("job.queue")}</th>
                            <th scope="col">{t("job.standing")}</th>
                            <th scope="col">{t("job.attempts")}</th>
                            <th scope="col">{t("job.created")}</th>
                            <th scope="col">
                                <span class="offscreen">{t("job.actions")}</span>
                            </th>
                        </tr>
                    </thead>
                    <tbody>
                        {jobs.map((job) => (
                            <Row key={job.jobId} job={job} />
                        ))}
                    </tbody>
                </table>
                {loaded && jobs.length === 0 && (
                    <p class="jobs-none" data-testid="jobs-none">
                        {t("job.none")}
                    </p>
                )}
                {!loaded && !problem && <p class="jobs-none">{t("list.loading")}</p>}
            </div>
            {next && (
                <div class="more">
                    <button type="button" class="btn" data-testid="jobs-more" disabled={loading} onClick={() => app.queues.more()}>
                        {t("list.more")}
                    </button>
                </div>
            )}
        </section>
    );
}

function Row({ job }: { job: Job }) {
    const { app, lang } = useUi();
    const standing = useStanding();
    return (
        <tr role="row" data-testid="job" data-id={job.jobId} data-status={job.status}>
            <td role="cell">
                <JobBadge job={job} />
            </td>
            <td role="cell">
                <a href={`#/jobs/${job.jobId}`} class="job-id">
                    {job.jobId}
                </a>
                {job.user && <span class="quiet"> {job.user}</span>}
            </td>
            <td role="cell">
                {job.service} <span class="quiet">{app.t(`lane.${job.lane}`)}</span>
            </td>
            <td role="cell" class="standing" data-testid="job-standing">
                {job.error ? (
                    <span class="error-text" title={whyOf(lang, job)}>
                        {whyOf(lang, job)}
                    </span>
                ) : (
                    standing(job)
                )}
            </td>
            <td role="cell">
                {job.attempts}/{job.max_attempts}
            </td>
            <td role="cell">
                <time dateTime={job.created_at}>{fmtTime(lang, job.created_at)}</time>
            </td>
            <td role="cell" class="job-actions">
                <JobAction job={job} small />
            </td>
        </tr>
    );
}

/** Cancel what is unfinished, do again what failed. */
export function JobAction({ job, small }: { job: Job; small?: boolean }) {
    const { app } = useUi();
    const { t } = app;
    const [failed, setFailed] = useState("");
    const [busy, setBusy] = useState(false);
    const size = small ? "btn-small btn-quiet" : "";
    if (unfinished(job.status))
        return (
            <button type="button" class={`btn ${size}`} data-testid="job-cancel" aria-label={`${t("cancel")}: ${job.jobId}`} onClick={() => app.store.dispatch({ type: "q/ask", asking: { cancel: job.jobId } })}>
                <Icon name="close" />
                {t("cancel")}
            </button>
        );
    if (job.status === "complete" || job.retried_by) return null;
    const retry = async () => {
        setBusy(true);
        const problem = await app.queues.retry(job.jobId);
        setBusy(false);
        setFailed(problem ? app.problem(problem) : "");
        if (!problem) app.say(t("job.retried"));
    };
    return (
        <>
            <button type="button" class={`btn ${size}`} data-testid="job-retry" disabled={busy} aria-label={`${t("retry")}: ${job.jobId}`} onClick={retry}>
                <Icon name="retry" />
                {t("retry")}
            </button>
            {failed && (
                <span class="error-text" role="alert">
                    {failed}
                </span>
            )}
        </>
    );
}

function Filters() {
    const { app } = useUi();
    const { t } = app;
    const filter = useSelect((s) => s.queues.filter);
    const list = useSelect((s) => s.queues.list);
    const names = (list ?? []).map((q) => q.service).sort();
    if (filter.service && !names.includes(filter.service)) names.push(filter.service);
    const select = (key: keyof JobFilter, label: string, all: string, options: [string, string][]) => (
        <span class="select">
            <select data-testid={`jobs-${key}`} aria-label={label} value={filter[key]} onChange={(e) => app.queues.filter({ [key]: e.currentTarget.value } as Partial<JobFilter>)}>
                <option value="">{all}</option>
                {options.map(([value, word]) => (
                    <option key={value} value={value}>
                        {word}
                    </option>
                ))}
            </select>
            <Icon name="down" />
        </span>
    );
    return (
        <div class="filters">
            {select("service", t("job.queue"), t("job.allQueues"), names.map((n) => [n, n]))}
            {select("status", t("job.state"), t("filter.allStatus"), [["unfinished", t("job.unfinished")], ...jobStatuses.map((s): [string, string] => [s, t(`job.status.${s}`)])])}
            {select("lane", t("job.lane"), t("job.allLanes"), lanes.map((l) => [l, t(`lane.${l}`)]))}
        </div>
    );
}
