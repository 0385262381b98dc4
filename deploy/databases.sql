-- The one-shot job `databases`: two roles and a database for Temporal's tables, one for its visibility, one per service.
-- Neither role is a superuser, and neither can enter the other's databases. Running it again changes nothing but passwords.
\set ON_ERROR_STOP on
\getenv temporal_password TEMPORAL_DB_PASSWORD
\getenv services_password SERVICES_DB_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY['temporal', 'services']) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

ALTER ROLE temporal PASSWORD :'temporal_password';
ALTER ROLE services PASSWORD :'services_password';

CREATE TEMPORARY TABLE wanted (name text, owner text);
INSERT INTO wanted VALUES
    ('temporal', 'temporal'),
    ('temporal_visibility', 'temporal'),
    ('order', 'services'),
    ('payment', 'services'),
    ('inventory', 'services'),
    ('shipping', 'services'),
    ('notification', 'services');

SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM wanted
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec

SELECT format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', name) FROM wanted \gexec
