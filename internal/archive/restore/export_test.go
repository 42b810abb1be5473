package restore

// Lock is the key of the lock that every psql of a restore holds.
const Lock = lock
