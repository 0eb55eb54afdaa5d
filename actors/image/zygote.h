/* `kervan image-zygote`: the warmed, single-threaded process from which a child is forked for every
 * picture. Started by the image actor only, with its control socket as descriptor 3; ends when that
 * is closed. */
#ifndef KV_IMAGE_ZYGOTE_H
#define KV_IMAGE_ZYGOTE_H

int kv_image_zygote_main(int argc, char **argv);

#endif
