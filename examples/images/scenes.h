/* The kinds of picture. Each paints the whole canvas; everything that varies comes from the generator. */
#ifndef SCENES_H
#define SCENES_H

#include "canvas.h"

/* landscapes.c */
void paint_mountains(struct canvas *canvas, struct rng *rng);
void paint_lake(struct canvas *canvas, struct rng *rng);
void paint_countryside(struct canvas *canvas, struct rng *rng);
void paint_sea(struct canvas *canvas, struct rng *rng);
void paint_town_at_night(struct canvas *canvas, struct rng *rng);

/* closeups.c */
void paint_forest(struct canvas *canvas, struct rng *rng);
void paint_flower(struct canvas *canvas, struct rng *rng);
void paint_fruit(struct canvas *canvas, struct rng *rng);

#endif
