import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";
import { pathOf, refocus } from "../focus";
import { Announcer } from "./announcer";

interface Props {
    class: string;
    label: string;
    role?: "alertdialog";
    testid?: string;
    onClose: () => void;
    onKeyDown?: (e: KeyboardEvent) => void;
    children: ComponentChildren;
}

/** The backdrop is the dialog to events; so are its padding and its scrollbar. */
function outside({ clientX: x, clientY: y }: MouseEvent, dialog: HTMLElement): boolean {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    return x < left || x > right || y < top || y > bottom;
}

/** A modal <dialog>: the browser traps the focus, closes on Escape, and gives the focus back when it goes. */
export function Modal({ class: name, label, role, testid, onClose, onKeyDown, children }: Props) {
    const ref = useRef<HTMLDialogElement>(null);
    useLayoutEffect(() => {
        const dialog = ref.current!;
        const opener = pathOf(document.activeElement);
        dialog.showModal();
        return () => {
            dialog.close();
            if (!opener[0]?.isConnected) refocus(opener);
        };
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
            onMouseDown={(e) => e.target === e.currentTarget && outside(e, e.currentTarget) && onClose()}
        >
            {children}
            <Announcer />
        </dialog>
    );
}
