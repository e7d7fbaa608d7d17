/* Pictures without a horizon: inside a forest, a flower before a blurred garden, fruit on a table. */
#include "scenes.h"

#include <math.h>

void
paint_forest(struct canvas *canvas, struct rng *rng)
{
	static const uint32_t fogs[] = {0xdce4d0, 0xf0dcb0, 0xc8d8dc, 0xd8dcc0}, leaves[] = {0x4c7838, 0xc07828, 0x3c6458, 0x88883c};
	int season = rng_pick(rng, 4), layers = 5;
	struct rgb fog = rgb(fogs[season]), leaf = rgb(leaves[season]);
	double ground = canvas->height * rng_range(rng, 0.62, 0.75), size = canvas->height;
	struct point light = {rng_range(rng, 0.2, 0.8) * canvas->width, size * 0.25};
	uint64_t seed = rng_next(rng);

	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			double crowns = fractal(seed, x / size * 7, y / size * 7, 5), litter = fractal(seed, x / size * 22, y / size * 60, 4);
			double depth = smoothstep(ground - size * 0.1, size, y);
			struct rgb colour = mix(fog, leaf, smoothstep(0.35, 0.75, crowns) * smoothstep(ground, 0, y) * 0.8);

			colour = mix(colour, scale(mix(leaf, rgb(0x5c4430), 0.5), 0.3 + 0.9 * litter), depth);
			blend(canvas, x, y, colour, 1);
		}
	glow(canvas, light, size * 0.22, fog, 0.35);
	for (int layer = 0; layer < layers; layer++) {
		double near = (layer + 0.5) / layers, foot_y = lerp(ground, size * 1.02, near * near);
		struct rgb bark = mix(fog, rgb(0x2c241e), 0.15 + 0.85 * near);

		for (int i = 12 - 2 * layer; i > 0; i--) {
			double x = rng_range(rng, 0, canvas->width);
			double width = size * (0.012 + 0.075 * near * near) * rng_range(rng, 0.7, 1.3);
			double lean = rng_range(rng, -0.03, 0.03) * size;
			struct point foot = {x, foot_y}, top = {x + lean, -size * 0.1};

			ellipse(canvas, foot, width * 1.6, width * 0.25, 0, scale(bark, 0.6), width * 0.4, 0.6 * near);
			stroke(canvas, foot, top, width, width * 0.75, bark);
			/* The side towards the light. */
			double shift = (light.x > x ? 0.25 : -0.25) * width;
			stroke(canvas, (struct point){x + shift, foot_y}, (struct point){top.x + shift, top.y}, width * 0.25, width * 0.2,
			    mix(bark, fog, 0.3));
			for (int k = 0; k < 3; k++) {
				double up = rng_range(rng, 0.45, 0.9), reach = rng_range(rng, -3, 3) * width;
				struct point from = {lerp(x, top.x, up), lerp(foot_y, top.y, up)};

				stroke(canvas, from, (struct point){from.x + reach, from.y - size * 0.1}, width * 0.25, 0.5, bark);
			}
		}
		for (int i = 0; i < 120; i++) {
			double x = rng_range(rng, 0, canvas->width), y = size * rng_range(rng, -0.02, 0.02 + 0.22 * near);
			double turn = rng_range(rng, 0, 1), length = size * (0.006 + 0.016 * near);
			struct rgb colour = mix(fog, scale(leaf, rng_range(rng, 0.5, 1.2)), 0.3 + 0.7 * near);

			ellipse(canvas, (struct point){x, y}, length, length * 0.5, turn, colour, 1.5, 0.8);
		}
	}
}

/* A garden out of focus: the lens turns each spot of light into a disc. */
static void
paint_blur(struct canvas *canvas, struct rng *rng)
{
	static const uint32_t pairs[][2] = {{0x24401c, 0x8cb058}, {0x1c3834, 0x7ca88c}, {0x40381c, 0xc0a860}, {0x283048, 0x8c98c0}};
	int pair = rng_pick(rng, 4);
	uint64_t seed = rng_next(rng);
	struct rgb dark = rgb(pairs[pair][0]), bright = rgb(pairs[pair][1]);

	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			double cloud = fractal(seed, x * 2.2 / canvas->height, y * 2.2 / canvas->height, 2);

			blend(canvas, x, y, mix(dark, bright, smoothstep(0.2, 0.85, cloud)), 1);
		}
	for (int i = 0; i < 34; i++) {
		double x = rng_range(rng, 0, canvas->width), y = rng_range(rng, 0, 0.8 * canvas->height);
		double radius = rng_range(rng, 0.02, 0.09) * canvas->height, alpha = rng_range(rng, 0.05, 0.28);

		ellipse(canvas, (struct point){x, y}, radius, radius, 0, mix(bright, rgb(0xfffbe0), 0.5), radius * 0.3, alpha);
	}
}

/* A petal from the centre outwards in the direction `turn`, veined and shaded from its root to its tip. */
static void
paint_petal(struct canvas *canvas, struct point centre, double length, double width, double turn, struct rgb root,
    struct rgb tip)
{
	double c = cosine(turn), s = sine(turn);

	for (int i = 0; i <= 24; i++) {
		double t = i / 24.0, along = length * (0.12 + 0.76 * t), half = width * sqrt(clamp(t * (1.28 - t) * 2.2, 0.02, 1));
		struct point at = {centre.x + c * along, centre.y + s * along};

		ellipse(canvas, at, length * 0.09, half, turn, scale(mix(root, tip, t), 0.78 + 0.22 * t), 2, 0.8);
	}
	for (int vein = -2; vein <= 2; vein++) {
		double aside = vein * width * 0.28;
		struct point from = {centre.x + c * length * 0.2, centre.y + s * length * 0.2};
		struct point to = {centre.x + c * length * 0.85 - s * aside, centre.y + s * length * 0.85 + c * aside};

		stroke(canvas, from, to, 0.7, 0.2, scale(root, 0.8));
	}
}

static void
paint_blossom(struct canvas *canvas, struct rng *rng, struct point centre, double radius)
{
	static const uint32_t colours[][2] = {
	    {0xd8b8a0, 0xfaf6f0}, {0xc05078, 0xf4a8c0}, {0xd87818, 0xfcd43c},
	    {0x5c3c98, 0xb498e8}, {0x901c24, 0xe84840}, {0x3c54a8, 0x90b0f0},
	};
	int colour = rng_pick(rng, 6), petals = 5 + rng_pick(rng, 12), rings = petals > 8 ? 2 : 1;
	double first = rng_range(rng, 0, 1), flatness = rng_range(rng, 0.18, 0.24) + 1.0 / petals;

	for (int ring = 0; ring < rings; ring++)
		for (int i = 0; i < petals; i++) {
			double turn = first + (i + ring * 0.5) / petals + rng_range(rng, -0.012, 0.012);
			double length = radius * rng_range(rng, 0.92, 1.05) * (1 - 0.16 * ring);
			double light = 0.9 - 0.16 * sine(turn) + 0.08 * ring;

			paint_petal(canvas, centre, length, length * flatness * 0.75, turn, scale(rgb(colours[colour][0]), light),
			    scale(rgb(colours[colour][1]), light));
		}
	ellipse(canvas, centre, radius * 0.23, radius * 0.22, 0, rgb(0x6c4810), radius * 0.05, 1);
	for (int i = 0; i < 150; i++) {
		double out = radius * 0.21 * sqrt(rng_range(rng, 0, 1)), turn = rng_range(rng, 0, 1), shade = rng_range(rng, 0.6, 1.15);
		double light = shade - 0.2 * sine(turn) * out / radius, size = radius * 0.016 + 0.4;
		struct point at = {centre.x + out * cosine(turn), centre.y + out * sine(turn)};

		ellipse(canvas, at, size, size, 0, scale(rgb(0xf0b830), light), 1, 0.9);
	}
}

void
paint_flower(struct canvas *canvas, struct rng *rng)
{
	double size = canvas->height;
	int flowers = 1 + rng_pick(rng, 3);

	paint_blur(canvas, rng);
	for (int i = 0; i < flowers; i++) {
		double x = canvas->width * ((i + 0.5) / flowers + rng_range(rng, -0.1, 0.1));
		double y = size * rng_range(rng, 0.3, 0.55), bend = size * rng_range(rng, -0.15, 0.15);
		double radius = size * rng_range(rng, 0.2, 0.34) / (flowers > 1 ? 1.4 : 1);
		struct rgb green = scale(rgb(0x4c7c34), rng_range(rng, 0.7, 1.1));
		struct point knee = {x + bend * 0.3, (y + size) / 2};

		stroke(canvas, (struct point){x, y}, knee, radius * 0.09, radius * 0.1, green);
		stroke(canvas, knee, (struct point){x + bend, size * 1.05}, radius * 0.1, radius * 0.12, green);
		for (int side = -1; side <= 1; side += 2) {
			double turn = 0.75 + side * rng_range(rng, 0.1, 0.2);

			paint_petal(canvas, (struct point){x + bend * 0.6, size * 0.9}, radius, radius * 0.2, turn, scale(green, 0.7), green);
		}
		paint_blossom(canvas, rng, (struct point){x, y}, radius);
	}
}

/* A round thing lit from the upper left, on the table with its lowest point at `foot`. `rx`, `ry`: half its width and height. */
static void
paint_ball(struct canvas *canvas, uint64_t seed, struct point foot, double rx, double ry, struct rgb skin, struct rgb blush,
    double gloss, double pores)
{
	double cy = foot.y - ry;
	struct point shadow = {foot.x + rx * 0.45, foot.y - ry * 0.06};

	ellipse(canvas, shadow, rx * 1.25, ry * 0.28, 0, rgb(0x140c08), ry * 0.4, 0.6);
	for (int y = (int)(cy - ry) - 1; y <= (int)foot.y + 1; y++)
		for (int x = (int)(foot.x - rx) - 1; x <= (int)(foot.x + rx) + 1; x++) {
			double u = (x - foot.x) / rx, v = (y - cy) / ry, distance = sqrt(u * u + v * v);
			double w = sqrt(clamp(1 - u * u - v * v, 0, 1));
			double bump = pores * (noise(seed, u * 22, v * 22) - 0.5);
			double lambert = clamp(-0.5 * u - 0.6 * v + 0.62 * w + bump, 0, 1);
			double shine = clamp(-0.38 * u - 0.45 * v + 0.81 * w, 0, 1);
			struct rgb colour = mix(skin, blush, smoothstep(0.35, 0.7, fractal(seed, u * 1.5 + 9, v * 1.2 + w, 4)));

			for (int i = 0; i < 5; i++)
				shine *= shine;
			colour = scale(colour, 0.22 + 0.9 * lambert + 0.12 * clamp(v, 0, 1) * w);
			colour = mix(colour, rgb(0xfffaf0), gloss * shine);
			blend(canvas, x, y, colour, clamp((1 - distance) * (rx < ry ? rx : ry) + 0.5, 0, 1));
		}
}

static void
paint_one_fruit(struct canvas *canvas, struct rng *rng, struct point foot, double size)
{
	static const struct {
		uint32_t skin, blush;
		double rx, ry, gloss, pores;
		int has_stalk;
	} kinds[] = {
	    {0xf08a1c, 0xf49c28, 1.00, 0.97, 0.35, 0.25, 0}, /* orange */
	    {0xb81c20, 0xe0a040, 1.00, 0.93, 0.70, 0.03, 1}, /* red apple */
	    {0x8cac34, 0xb8c850, 1.00, 0.93, 0.60, 0.03, 1}, /* green apple */
	    {0xf0d030, 0xf8e050, 1.20, 0.82, 0.40, 0.16, 0}, /* lemon */
	    {0x4c2850, 0x704068, 0.72, 0.76, 0.45, 0.03, 1}, /* plum */
	    {0xf0a868, 0xd85840, 0.95, 0.92, 0.15, 0.05, 1}, /* peach */
	};
	int kind = rng_pick(rng, 7);
	uint64_t seed = rng_next(rng);

	if (kind == 6) { /* grapes, the hindmost first */
		for (int row = 3; row >= 0; row--)
			for (int i = 0; i <= 3 - row; i++) {
				struct point at = {foot.x + size * ((i - (3 - row) / 2.0) * 0.52), foot.y - size * 0.42 * row};

				paint_ball(canvas, seed + (uint64_t)i, at, size * 0.32, size * 0.34, rgb(0x3c2048), rgb(0x6c3c78), 0.5, 0);
			}
		return;
	}
	paint_ball(canvas, seed, foot, size * kinds[kind].rx, size * kinds[kind].ry, rgb(kinds[kind].skin), rgb(kinds[kind].blush),
	    kinds[kind].gloss, kinds[kind].pores);
	if (kinds[kind].has_stalk) {
		struct point root = {foot.x, foot.y - size * kinds[kind].ry * 1.88};

		ellipse(canvas, root, size * 0.2, size * 0.07, 0, scale(rgb(kinds[kind].skin), 0.35), size * 0.12, 0.8);
		stroke(canvas, root, (struct point){root.x + size * 0.1, root.y - size * 0.3}, size * 0.07, size * 0.05, rgb(0x4a3420));
	}
}

void
paint_fruit(struct canvas *canvas, struct rng *rng)
{
	static const uint32_t walls[] = {0x8c9c98, 0x584c48, 0xb8a890, 0x3c4854, 0x98707c};
	static const uint32_t woods[] = {0x8c5c34, 0xb08858, 0x5c3c28, 0xc8b8a0};
	struct rgb wall = rgb(walls[rng_pick(rng, 5)]), wood = rgb(woods[rng_pick(rng, 4)]);
	double size = canvas->height, edge = size * rng_range(rng, 0.45, 0.6);
	uint64_t seed = rng_next(rng);
	int fruits = 3 + rng_pick(rng, 4), behind = (fruits + 1) / 2;

	for (int y = 0; y < canvas->height; y++)
		for (int x = 0; x < canvas->width; x++) {
			/* Light falls in from a window at the left. */
			double light = 1.25 - 0.75 * x / canvas->width - 0.25 * y / size;
			double grain = fractal(seed, x / size * 2.5, y / size * 45, 4);
			struct rgb colour = scale(wall, light * (0.93 + 0.14 * fractal(seed, x / size * 3, y / size * 3, 3)));

			colour = mix(colour, scale(wood, (0.6 + 0.55 * grain) * (0.6 + 0.5 * light)), smoothstep(edge - 1, edge + 1, y));
			blend(canvas, x, y, colour, 1);
		}
	for (int i = 0; i < fruits; i++) {
		/* In two rows, the hind one first. */
		int is_front = i >= behind, slot = is_front ? i - behind : i, slots = is_front ? fruits - behind : behind;
		double x = canvas->width * ((slot + 0.5) / slots * 0.8 + 0.1) + size * rng_range(rng, -0.06, 0.06);
		double y = edge + size * (is_front ? 0.3 : 0.12) + size * rng_range(rng, -0.03, 0.03);

		paint_one_fruit(canvas, rng, (struct point){x, y}, size * (is_front ? 0.17 : 0.14) * rng_range(rng, 0.9, 1.1));
	}
}
