import { useEffect, useRef } from "preact/hooks";
import { fmtBytes, fmtNumber, fmtSpan, fmtTime } from "../i18n";
import type { Media } from "../model";
import { useSelect, useUi } from "./context";
import { CopyButton } from "./copy";
import { Icon } from "./icons";
import { Modal } from "./modal";
import { Picture } from "./picture";
import { failureOf, RetryButton, StatusBadge } from "./tile";
import { Variants } from "./variants";

/** One file, at #/media/ID. Arrow keys walk through the list as it is filtered. */
export function Detail() {
    const id = useSelect((s) => s.detail);
    return id ? <Opened id={id} /> : null;
}

function Opened({ id }: { id: string }) {
    const { app } = useUi();
    const { t } = app;
    const media = useSelect((s) => s.items[id]);
    const isGone = useSelect((s) => s.detailGone);
    const order = useSelect((s) => s.order);
    const at = order.indexOf(id);
    const prev = at > 0 ? order[at - 1]! : null;
    const next = at >= 0 ? (order[at + 1] ?? null) : null;
    const close = useRef<HTMLButtonElement>(null);
    useEffect(() => close.current?.focus(), []);
    useEffect(() => {
        if (next === null && at >= 0) app.more(); // the last one loaded is not the last one there is
    }, [id, next]);
    const go = (to: string | null) => to && app.openDetail(to);
    const onKey = (e: KeyboardEvent) => {
        if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey || app.store.get().confirming) return;
        if (e.key === "ArrowLeft") go(prev);
        else if (e.key === "ArrowRight") go(next);
        else return;
        e.preventDefault();
    };
    const arrows = (
        <>
            <button type="button" class="btn btn-quiet btn-icon" data-testid="detail-prev" disabled={!prev} aria-label={t("detail.prev")} onClick={() => go(prev)}>
                <Icon name="left" />
            </button>
            <button type="button" class="btn btn-quiet btn-icon" data-testid="detail-next" disabled={!next} aria-label={t("detail.next")} onClick={() => go(next)}>
                <Icon name="right" />
            </button>
        </>
    );
    return (
        <Modal class="detail" label={media?.filename ?? t("detail.title")} testid="detail" onClose={() => app.openDetail(null)} onKeyDown={onKey}>
            <header class="detail-head">
                {arrows}
                <h2 dir="auto" title={media?.filename}>{media?.filename ?? t("detail.title")}</h2>
                {media && <StatusBadge media={media} />}
                <button type="button" class="btn btn-quiet btn-icon" ref={close} data-testid="detail-close" aria-label={t("detail.close")} onClick={() => app.openDetail(null)}>
                    <Icon name="close" />
                </button>
            </header>
            {media ? <Body key={id} media={media} /> : <Absent known={isGone} />}
        </Modal>
    );
}

function Absent({ known }: { known: boolean }) {
    const { app } = useUi();
    if (!known) return <div class="notice" aria-busy="true">{app.t("list.loading")}</div>;
    return (
        <div class="notice" role="alert" data-testid="detail-gone">
            <Icon name="alert" />
            <h2>{app.t("detail.gone")}</h2>
            <p>{app.t("detail.goneHint")}</p>
        </div>
    );
}

function Body({ media }: { media: Media }) {
    const { app } = useUi();
    const { t } = app;
    const url = new URL(media.url, location.href).href;
    return (
        <div class="detail-body">
            <div class={`stage ${media.width ? "" : "stage-plain"}`}>
                <Picture media={media} sizes="(max-width: 900px) 100vw, 70vw" need={1600} eager />
            </div>
            <div class="side">
                <div class="side-tools">
                    <CopyButton text={url} label={t("copy.url")} testid="copy-url" wide class="btn-primary" />
                    <a class="btn" href={url} target="_blank" rel="noopener">
                        <Icon name="open" />
                        {t("detail.open")}
                    </a>
                    <button type="button" class="btn btn-danger-quiet" data-testid="delete" onClick={() => app.store.dispatch({ type: "confirm", id: media.id })}>
                        <Icon name="trash" />
                        {t("delete")}
                    </button>
                </div>
                {media.status === "FAILED" && (
                    <div class="callout callout-bad" role="alert">
                        <Icon name="alert" />
                        <div>
                            <p>{app.problem(failureOf(media))}</p>
                            {media.error_detail && <p class="quiet">{media.error_detail}</p>}
                            <RetryButton media={media} />
                        </div>
                    </div>
                )}
                <Variants media={media} />
                <Facts media={media} url={url} />
                {media.metadata_kept && (
                    <div class="callout" data-testid="metadata-kept">
                        <Icon name="alert" />
                        <p>{t("detail.metadataKept")}</p>
                    </div>
                )}
            </div>
        </div>
    );
}

function Facts({ media, url }: { media: Media; url: string }) {
    const { app, lang } = useUi();
    const { t } = app;
    const took = fmtSpan(lang, media.processingStartedAt, media.processingCompletedAt);
    const rows: [string, string, boolean?][] = [
        [t("detail.url"), url, true],
        [t("detail.type"), media.mime],
        [t("detail.size"), `${fmtBytes(lang, media.size)} (${fmtNumber(lang, media.size)} B)`],
        [t("detail.dimensions"), media.width && media.height ? `${media.width} × ${media.height}` : "–"],
        [t("folder"), media.folder],
        [t("detail.created"), fmtTime(lang, media.created_at)],
        [t("detail.processed"), media.processingCompletedAt ? `${fmtTime(lang, media.processingCompletedAt)}${took ? ` · ${t("detail.took", { time: took })}` : ""}` : "–"],
        [t("detail.hash"), media.hash, true],
    ];
    if (media.stored_hash !== media.hash) rows.push([t("detail.storedHash"), media.stored_hash, true]);
    rows.push([t("detail.id"), media.id, true]);
    return (
        <dl class="facts">
            {rows.map(([name, value, code]) => (
                <div key={name}>
                    <dt>{name}</dt>
                    <dd>
                        {code ? <code>{value}</code> : value}
                        {code && <CopyButton text={value} label={`${t("copy")}: ${name}`} class="btn-quiet" />}
                    </dd>
                </div>
            ))}
        </dl>
    );
}
