import { useEffect, useRef, useState } from "preact/hooks";
import type { Problem } from "../model";
import { useSelect, useUi } from "./context";
import { Icon } from "./icons";
import { Modal } from "./modal";

/** Asks before a file is deleted. The safe answer has the focus. */
export function ConfirmDelete() {
    const confirming = useSelect((s) => s.confirming);
    const media = useSelect((s) => (s.confirming ? s.items[s.confirming] : undefined));
    return confirming && media ? <Ask key={confirming} id={confirming} /> : null;
}

function Ask({ id }: { id: string }) {
    const { app } = useUi();
    const { t } = app;
    const media = useSelect((s) => s.items[id]);
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState<Problem | null>(null);
    const safe = useRef<HTMLButtonElement>(null);
    useEffect(() => safe.current?.focus(), []);
    const close = () => app.store.dispatch({ type: "confirm", id: null });
    if (!media) return null;
    const remove = async () => {
        setBusy(true);
        setProblem(null);
        const { order, detail } = app.store.get();
        const at = order.indexOf(id);
        const neighbour = order[at + 1] ?? order[at - 1];
        const failed = await app.remove(media);
        setBusy(false);
        setProblem(failed);
        if (failed) return;
        if (detail === id) app.openDetail(null);
        // The tile that had the focus is gone: its neighbour takes it, or the heading.
        requestAnimationFrame(() => {
            const next = neighbour ? document.querySelector<HTMLElement>(`[data-id="${neighbour}"] .tile-link`) : null;
            (next ?? document.getElementById("library"))?.focus({ preventScroll: true });
        });
    };
    return (
        <Modal class="confirm" role="alertdialog" label={t("delete.title")} testid="delete-dialog" onClose={close} onKeyDown={(e) => e.stopPropagation()}>
            <h2>{t("delete.title")}</h2>
            <p>{t("delete.text", { name: media.filename })}</p>
            <p class="quiet">{t("delete.shared")}</p>
            {problem && (
                <p class="error-text" role="alert">
                    {app.problem(problem)}
                </p>
            )}
            <div class="confirm-tools">
                <button type="button" class="btn" ref={safe} data-testid="delete-cancel" onClick={close}>
                    {t("delete.cancel")}
                </button>
                <button type="button" class="btn btn-danger" data-testid="delete-confirm" disabled={busy} onClick={remove}>
                    <Icon name="trash" />
                    {t(busy ? "delete.busy" : "delete.confirm")}
                </button>
            </div>
        </Modal>
    );
}
