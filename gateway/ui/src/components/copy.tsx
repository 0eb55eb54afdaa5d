import { useEffect, useState } from "preact/hooks";
import { useUi } from "./context";
import { Icon } from "./icons";

async function copyText(text: string): Promise<boolean> {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        return copyBySelection(text); // pages served over plain http from another host have no clipboard API
    }
}

function copyBySelection(text: string): boolean {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "offscreen";
    // Inside an open modal dialog, because everything outside it is inert.
    ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(area);
    const before = document.activeElement as HTMLElement | null;
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    before?.focus();
    return copied;
}

interface Props {
    text: string;
    label: string;
    /** Shows the word beside the icon. */
    wide?: boolean;
    testid?: string;
    class?: string;
}

export function CopyButton({ text, label, wide, testid, class: extra = "" }: Props) {
    const { app } = useUi();
    const [state, setState] = useState<"" | "done" | "failed">("");
    useEffect(() => {
        if (!state) return;
        const timer = setTimeout(() => setState(""), 2000);
        return () => clearTimeout(timer);
    }, [state]);
    const copy = async () => {
        const copied = await copyText(text);
        setState(copied ? "done" : "failed");
        app.say(app.t(copied ? "copy.done" : "copy.failed"));
    };
    const word = state === "done" ? app.t("copy.done") : state === "failed" ? app.t("copy.failed") : label;
    return (
        <button type="button" class={`btn ${wide ? "" : "btn-icon"} copy ${extra}`} data-state={state} data-testid={testid} aria-label={state ? word : label} title={wide ? undefined : label} onClick={copy}>
            <Icon name={state === "done" ? "check" : state === "failed" ? "alert" : "copy"} />
            {wide && <span>{word}</span>}
        </button>
    );
}
