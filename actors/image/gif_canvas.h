/* The canvas of a GIF around its first frame. Inside the child only. */
#ifndef KV_IMAGE_GIF_CANVAS_H
#define KV_IMAGE_GIF_CANVAS_H

#include <vips/vips.h>

/* Replaces *in, opened from `fd` (whose position stays), by the picture that browsers show: as
 * large as the canvas, and transparent where the first frame does not reach. libvips leaves that
 * black, or out. 0 or -1 (libvips error). */
int kv_gif_canvas(int fd, VipsImage **in);

#endif
