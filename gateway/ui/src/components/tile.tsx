import { useState } from "preact/hooks";
import { fmtBytes } from "../i18n";
import type { Media, Problem } from "../model";
import { useSelect, useUi } from "./context";
import { CopyButton } from "./copy";
import { Icon } from "./icons";
import { fills, Picture } from "./picture";

/** What the server says of a FAILED row, as a problem: the same sentences serve both. */
export function failureOf(media: Media): Problem {
    return { status: 422, code: media.error ?? "", text: media.error_detail ?? media.error ?? "", detail: media.error_detail ?? "", retryAfter: null };
}

export function StatusBadge({ media }: { media: Media }) {
    const { app } = useUi();
    const fresh = useSelect((s) => media.id in s.fresh);
    const place = useSelect((s) => (media.jobId ? (s.queues.positions[media.jobId]?.queue_position ?? 0) : 0));
    const waits = media.status === "PENDING" && place > 0;
    return (
        <span class={`badge badge-${media.status} ${fresh ? "fresh" : ""}`} data-testid="tile-status" data-status={media.status}>
            {media.status === "PENDING" && (
                <i class="walk" aria-hidden="true">
                    <i />
                    <i />
                    <i />
                </i>
            )}
            {media.status === "READY" && <Icon name="check" />}
            {media.status === "FAILED" && <Icon name="alert" />}
            {waits ? app.t("status.place", { n: place }) : app.t(`status.${media.status}`)}
        </span>
    );
}

export function RetryButton({ media }: { media: Media }) {
    const { app } = useUi();
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState<Problem | null>(null);
    const retry = async () => {
        setBusy(true);
        setProblem(await app.retry(media.id));
        setBusy(false);
    };
    return (
        <>
            <button type="button" class="btn btn-small" data-testid="retry" disabled={busy} onClick={retry}>
                <Icon name="retry" />
                {app.t("retry")}
            </button>
            {problem && <span class="error-text" role="alert">{app.problem(problem)}</span>}
        </>
    );
}

export function Tile({ id }: { id: string }) {
    const { app, lang } = useUi();
    const media = useSelect((s) => s.items[id]);
    if (!media) return null;
    const { t } = app;
    const name = media.filename;
    const dimensions = media.width && media.height ? `${media.width} × ${media.height}` : "";
    return (
        <li class="tile" data-testid="tile" data-id={id} data-status={media.status}>
            <a class="tile-link" href={`#/media/${id}`} aria-label={`${t("tile.open", { name })}, ${t(`status.${media.status}`)}`}>
                <span class={`frame ${fills(media) ? "frame-fill" : "frame-fit"}`}>
                    <Picture media={media} sizes="(max-width: 600px) 46vw, (max-width: 1800px) 240px, 340px" need={480} />
                </span>
            </a>
            <StatusBadge media={media} />
            <div class="tile-tools">
                <CopyButton text={new URL(media.url, location.href).href} label={t("copy.name", { name })} testid="tile-copy" />
                <button type="button" class="btn btn-icon" data-testid="tile-delete" aria-label={t("tile.delete", { name })} title={t("delete")} onClick={() => app.store.dispatch({ type: "confirm", id })}>
                    <Icon name="trash" />
                </button>
            </div>
            <div class="tile-text">
                <span class="tile-name" dir="auto" title={name}>
                    {name}
                </span>
                <span class="tile-meta">
                    {dimensions && <span>{dimensions}</span>}
                    <span>{fmtBytes(lang, media.size)}</span>
                    <span class="tile-folder">{media.folder}</span>
                </span>
                {media.status === "FAILED" && (
                    <span class="tile-failed">
                        <span class="error-text">{app.problem(failureOf(media))}</span>
                        <RetryButton media={media} />
                    </span>
                )}
            </div>
        </li>
    );
}
