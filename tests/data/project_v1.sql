-- A project in the middle of a run, as version 1 of the schema left it when its gateway was killed.
INSERT INTO projects (id, status, title) VALUES ('old', 'generating', 'a timer');
INSERT INTO agent_states (project_id, current_state, current_phase_index, phases, sandbox_kind,
                          preview_url, epoch, last_seq, run, is_clean)
VALUES ('old', 'implementing_phase', 0,
        '[{"number": 1, "name": "Base", "description": "All of it.", "isLastPhase": true,
           "files": [{"path": "index.html", "purpose": "the page"},
                     {"path": "app.js", "purpose": "its behaviour"}],
           "status": "designed", "finished": ["index.html"]}]',
        NULL, NULL, nextval('project_epochs'), 8,
        '{"id": "c1", "description": "a timer", "model": "m", "maxPhases": 3, "firstPhase": 1}',
        false);
INSERT INTO generated_files (project_id, file_path, content, size, sha256, phase_index)
VALUES ('old', 'index.html', '<h1>Hello</h1>', 14, encode(sha256('<h1>Hello</h1>'), 'hex'), 0);
INSERT INTO commands (project_id, command_id, payload, status, answer, position)
VALUES ('old', 'c1', '{"description": "a timer", "model": "m", "maxPhases": 3}', 'running',
        '{"place": 0, "seq": 1}', 2),
       ('old', 'c2', '{"description": "and a bell", "model": "m", "maxPhases": 3}', 'queued',
        '{"place": 1, "seq": 3}', 3);
INSERT INTO events (project_id, seq, type, data)
VALUES ('old', 4, 'phase_designing', '{"phaseNumber":1}'),
       ('old', 6, 'file_end', '{"path":"index.html","content":"<h1>Hello</h1>"}'),
       ('old', 7, 'file_start', '{"path":"app.js"}'),
       ('old', 8, 'file_chunk', '{"path":"app.js","chunk":"let x"}');
