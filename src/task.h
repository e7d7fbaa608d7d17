/* What a pool of threads (pool.h) does with a file, as another module offers it: a light userdata that points to one of these. */
#ifndef RV_TASK_H
#define RV_TASK_H

#define RV_TASK_MAGIC 0x7265766563313031ULL
enum { RV_TASK_WHY = 320 };

struct rv_task {
    unsigned long long magic; /* RV_TASK_MAGIC: of this very layout */
    /*
     * A vector as a JSON array of numbers, malloc'd; or NULL with *kind (static, of doc/reliability.md's list) and one line in
     * why; both left alone when out of memory. Called by any number of threads at once. May block.
     */
    char *(*run)(const char *path, const char **kind, char why[RV_TASK_WHY]);
};

#endif
