import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
    class: string;
    label: string;
    role?: "alertdialog";
    testid?: string;
    onClose: () => void;
    onKeyDown?: (e: KeyboardEvent) => void;
    children: ComponentChildren;
}

/** A modal <dialog>: the browser traps the focus, closes on Escape, and gives the focus back when it goes. */
export function Modal({ class: name, label, role, testid, onClose, onKeyDown, children }: Props) {
    const ref = useRef<HTMLDialogElement>(null);
    useLayoutEffect(() => {
        const dialog = ref.current!;
        dialog.showModal();
        return () => dialog.close();
    }, []);
    return (
        <dialog
            ref={ref}
            class={name}
            role={role}
            aria-label={label}
            data-testid={testid}
            onCancel={(e) => {
                e.preventDefault();
                onClose();
            }}
            onKeyDown={onKeyDown}
            onMouseDown={(e) => e.target === ref.current && onClose()}
        >
            {children}
        </dialog>
    );
}
