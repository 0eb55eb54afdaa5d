import { useEffect, useRef, useState } from "preact/hooks";
import type { Problem } from "../model";
import type { Asking } from "../queues";
import { useSelect, useUi } from "./context";
import { Modal } from "./modal";

/** Asks before a queue is stopped or a job cancelled. The safe answer has the focus. */
export function ConfirmQueue() {
    const asking = useSelect((s) => s.queues.asking);
    return asking && <Ask key={JSON.stringify(asking)} asking={asking} />;
}

function Ask({ asking }: { asking: Asking }) {
    const { app } = useUi();
    const { t } = app;
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState<Problem | null>(null);
    const safe = useRef<HTMLButtonElement>(null);
    useEffect(() => safe.current?.focus(), []);
    const what = "cancel" in asking ? "cancel" : asking.action;
    const close = () => app.store.dispatch({ type: "q/ask", asking: null });
    const go = async () => {
        setBusy(true);
        const failed = await ("cancel" in asking ? app.queues.cancel(asking.cancel) : app.queues.steer(asking.service, asking.action));
        setBusy(false);
        setProblem(failed);
        if (failed) return;
        app.say(t(`q.said.${what}`));
        close();
    };
    return (
        <Modal class="confirm" role="alertdialog" label={t(`q.ask.${what}`)} testid="queue-dialog" onClose={close} onKeyDown={(e) => e.stopPropagation()}>
            <h2>{t(`q.ask.${what}`)}</h2>
            <p>{t(`q.askText.${what}`, { name: "cancel" in asking ? asking.cancel : asking.service })}</p>
            {problem && (
                <p class="error-text" role="alert">
                    {app.problem(problem)}
                </p>
            )}
            <div class="confirm-tools">
                <button type="button" class="btn" ref={safe} data-testid="queue-no" onClick={close}>
                    {t("delete.cancel")}
                </button>
                <button type="button" class={`btn ${what === "resume" ? "btn-primary" : "btn-danger"}`} data-testid="queue-yes" disabled={busy} onClick={go}>
                    {t(`q.${what}`)}
                </button>
            </div>
        </Modal>
    );
}
