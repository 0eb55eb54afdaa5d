import { useEffect, useState } from "preact/hooks";
import { fmtBytes, fmtPercent, fmtSeconds } from "../i18n";
import { extension, kindOf } from "../model";
import { finished, isLost, type Phase, type Upload } from "../state";
import { Kept, useSelect, useUi } from "./context";
import { FileGlyph, Icon } from "./icons";

/** What the page refused and the server can only refuse as well. */
const hopeless = ["empty_file", "too_large"];

const ROWS = 100; // each change costs as much as is shown; nobody reads more

const rowOf = (upload: Upload) => <Row upload={upload} />;

/** The list of uploads, in the corner; gone when there are none. */
export function UploadPanel() {
    const { app } = useUi();
    const { t } = app;
    const uploads = useSelect((s) => s.uploads);
    const lost = useSelect((s) => !s.online || s.uploads.some(isLost));
    const [open, setOpen] = useState(true);
    const count = uploads.length;
    useEffect(() => setOpen(true), [count]);
    if (count === 0) return null;
    const active = uploads.filter((u) => !finished(u)).length;
    const failed = uploads.filter((u) => u.phase === "failed").length;
    const bytes = uploads.reduce((n, u) => n + u.size, 0);
    const sent = uploads.reduce((n, u) => n + (finished(u) ? u.size : u.sent), 0);
    const percent = active && bytes ? (sent / bytes) * 100 : 100;
    return (
        <section class="panel" aria-label={t("up.title")} data-testid="upload-panel">
            <header>
                <b>{active ? t(lost ? "up.lost" : "up.active", { n: active }) : failed ? t("up.failed", { n: failed }) : t("up.done")}</b>
                {active > 0 ? (
                    <button type="button" class="btn btn-quiet btn-small" data-testid="upload-cancel-all" onClick={() => app.uploads.cancelAll()}>
                        {t("up.cancelAll")}
                    </button>
                ) : (
                    <button type="button" class="btn btn-quiet btn-small" data-testid="upload-clear" onClick={() => app.uploads.clear()}>
                        {t("up.clear")}
                    </button>
                )}
                <button type="button" class={`btn btn-quiet btn-icon fold ${open ? "" : "folded"}`} aria-expanded={open} aria-label={t(open ? "up.collapse" : "up.expand")} onClick={() => setOpen(!open)}>
                    <Icon name="down" />
                </button>
                <span class="panel-bar" style={{ transform: `scaleX(${percent / 100})` }} />
            </header>
            {open && (
                <ul>
                    {inOrder(uploads).slice(0, ROWS).map((u) => (
                        <Kept key={u.key} of={u} make={rowOf} />
                    ))}
                    {count > ROWS && <li class="row-state rest">{t("up.rest", { n: count - ROWS })}</li>}
                </ul>
            )}
        </section>
    );
}

const ranks: Record<Phase, number> = { sending: 0, saving: 0, backoff: 1, failed: 2, queued: 3, done: 4, cancelled: 4 };

/** What moves comes first, then what waits, what failed, what is to come, and what is over, newest first. */
function inOrder(uploads: readonly Upload[]): Upload[] {
    return [...uploads].sort((a, b) => ranks[a.phase] - ranks[b.phase] || (ranks[a.phase] === 4 ? b.key - a.key : a.key - b.key));
}

function Thumb({ upload: u }: { upload: Upload }) {
    const [broken, setBroken] = useState(false);
    return (
        <span class="thumb">
            {u.preview && !broken ? (
                <img src={u.preview} alt="" width="40" height="40" loading="lazy" decoding="async" draggable={false} onError={() => setBroken(true)} />
            ) : (
                <FileGlyph kind={kindOf(u.type)} ext={extension(u.name)} />
            )}
        </span>
    );
}

function Row({ upload: u }: { upload: Upload }) {
    const { app, lang } = useUi();
    const { t } = app;
    const percent = u.size > 0 ? Math.min(100, (u.sent / u.size) * 100) : 0;
    const running = u.phase === "sending" || u.phase === "saving";
    return (
        <li class={`row row-${u.phase}`} data-testid="upload-row" data-phase={u.phase} data-name={u.name}>
            <Thumb upload={u} />
            <span class="row-main">
                <span class="row-name" dir="auto" title={u.name}>
                    {u.name}
                </span>
                <span class={`row-state ${u.phase === "failed" ? "error-text" : ""}`}>
                    <State upload={u} />
                </span>
                {!finished(u) && (
                    <span
                        class={`progress ${u.phase === "saving" ? "waiting" : ""}`}
                        role="progressbar"
                        aria-label={t("up.progress", { name: u.name })}
                        aria-valuemin={0}
                        aria-valuemax={100}
                        aria-valuenow={Math.round(percent)}
                        data-testid="upload-progress"
                    >
                        <i style={{ transform: `scaleX(${percent / 100})` }} />
                    </span>
                )}
            </span>
            <span class="row-tools">
                {running && <span class="row-percent">{fmtPercent(lang, Math.floor(percent))}</span>}
                {u.phase === "done" && u.mediaId && (
                    <a class="btn btn-quiet btn-small" href={`#/media/${u.mediaId}`}>
                        {t("up.show")}
                    </a>
                )}
                {(u.phase === "failed" || u.phase === "cancelled") && !(u.local && hopeless.includes(u.problem?.code ?? "")) && (
                    <button type="button" class="btn btn-quiet btn-small" data-testid="upload-retry" onClick={() => app.uploads.retry(u.key)}>
                        {t(u.local ? "up.force" : "retry")}
                    </button>
                )}
                {!finished(u) && (
                    <button type="button" class="btn btn-quiet btn-icon" data-testid="upload-cancel" aria-label={t("up.cancelName", { name: u.name })} title={t("cancel")} onClick={() => app.uploads.cancel(u.key)}>
                        <Icon name="close" />
                    </button>
                )}
            </span>
        </li>
    );
}

function State({ upload: u }: { upload: Upload }) {
    const { app, lang } = useUi();
    const { t } = app;
    const size = fmtBytes(lang, u.size);
    switch (u.phase) {
        case "queued":
            return <>{`${size} · ${t("up.queued")}`}</>;
        case "sending": {
            const parts = [t("up.sending", { sent: fmtBytes(lang, u.sent), size })];
            if (u.speed > 0) parts.push(t("up.speed", { speed: fmtBytes(lang, u.speed) }), t("up.left", { time: fmtSeconds(lang, (u.size - u.sent) / u.speed) }));
            return <>{parts.join(" · ")}</>;
        }
        case "saving":
            return <>{`${size} · ${t("up.saving")}`}</>;
        case "backoff":
            return (
                <>
                    {t(u.problem?.status === 429 ? "up.limited" : u.problem?.status ? "up.busy" : "up.offline")}
                    {u.retryAt > 0 && <Countdown until={u.retryAt} />}
                </>
            );
        case "done":
            return (
                <>
                    <Icon name="check" />
                    {u.deduplicated ? t("up.known") : `${size} · ${t("up.stored")}`}
                </>
            );
        case "cancelled":
            return <>{t("up.cancelled") + (u.sent < u.size ? "" : t("up.late"))}</>; // what has arrived whole is kept
        case "failed":
            return <>{u.problem ? app.problem(u.problem, u.size) : ""}</>;
    }
}

function Countdown({ until }: { until: number }) {
    const { app } = useUi();
    const [now, setNow] = useState(() => performance.now());
    useEffect(() => {
        const timer = setInterval(() => setNow(performance.now()), 500);
        return () => clearInterval(timer);
    }, []);
    return <>{app.t("up.again", { s: Math.max(0, Math.ceil((until - now) / 1000)) })}</>;
}
