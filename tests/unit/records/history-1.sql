-- The history as version 1 of it was written: sqlite3 history.db .dump, and its two marks.
PRAGMA application_id = 1903392112;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE events (
        id INTEGER PRIMARY KEY,
        watch INTEGER NOT NULL,
        wall REAL NOT NULL,
        now REAL NOT NULL,
        seq INTEGER NOT NULL,
        guest TEXT,
        kind TEXT NOT NULL,
        data TEXT NOT NULL
    );
INSERT INTO "events" VALUES(1,1,1700000001.0,1.0,1,'web1','GUEST_PHASE','{"phase":"starting","ready":false,"wanted":"running"}');
INSERT INTO "events" VALUES(2,1,1700000002.0,2.0,2,'web1','GUEST_PHASE','{"phase":"running","ready":true,"wanted":"running"}');
INSERT INTO "events" VALUES(3,1,1700000060.0,60.0,60,'web1','GUEST_ENDED','{"cause":"qemu-signal","detail":"signal 9 (SIGKILL) ended QEMU","status":"signal 9 (SIGKILL)","ran":58.0,"decision":"restart.policy = \"on-failure\": restart in 1 s","stopped-by":null}');
INSERT INTO "events" VALUES(4,1,1700000060.0,60.0,60,'web1','GUEST_PHASE','{"phase":"backoff","ready":false,"wanted":"running"}');
CREATE TABLE standings (
        guest TEXT PRIMARY KEY,
        event INTEGER NOT NULL,
        watch INTEGER NOT NULL,
        wall REAL NOT NULL,
        now REAL NOT NULL,
        data TEXT NOT NULL
    );
CREATE TABLE watches (
        id INTEGER PRIMARY KEY,
        boot TEXT NOT NULL,
        version TEXT NOT NULL,
        pid INTEGER NOT NULL,
        began_wall REAL NOT NULL,
        began_now REAL NOT NULL,
        seen_wall REAL NOT NULL,
        seen_now REAL NOT NULL,
        orderly INTEGER NOT NULL
    );
INSERT INTO "watches" VALUES(1,'b','0.1.0',17,1700000000.0,0.0,1700000061.0,61.0,1);
CREATE INDEX events_of_guest ON events (guest, id);
COMMIT;
