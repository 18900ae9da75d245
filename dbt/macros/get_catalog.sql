{#- What stands in BigQuery, for `dbt docs generate`: type, size, partitioning, and every column
    with its type and description. Read by tables.get, which is free; the adapter's own query asks
    __TABLES__ and four INFORMATION_SCHEMA views of every dataset, 10 MiB each, and bqemulator 1.4.0
    has no __TABLES__. The statement that is left names no table, so it bills nothing. -#}
{% macro bigquery__get_catalog(information_schema, schemas) -%}
    {%- set relations = [] -%}
    {%- for schema in schemas -%}
        {%- set dataset = api.Relation.create(
            database=information_schema.database, schema=schema
        ) -%}
        {%- do relations.extend(adapter.list_relations_without_caching(dataset)) -%}
    {%- endfor -%}
    {{ return(bigquery__get_catalog_relations(information_schema, relations)) }}
{%- endmacro %}


{% macro bigquery__get_catalog_relations(information_schema, relations) -%}
    {%- set columns = [] -%}
    {%- for relation in relations -%}
        {%- set table = adapter.get_bq_table(relation) -%}
        {%- if table -%}
            {%- do columns.extend(catalog_of_table(table)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set query -%}
        select
        {%- for name in [
            'table_database', 'table_schema', 'table_name', 'table_type', 'table_comment',
            'column_name', 'column_type', 'column_comment',
        ] %}
            json_value(item, '$.{{ name }}') as {{ name }},
        {%- endfor %}
            cast(json_value(item, '$.column_index') as int64) as column_index,
        {%- for name, label, description, type in [
            ('num_rows', '# Rows', 'Rows in the table', 'int64'),
            ('num_bytes', 'Approximate Size', 'Logical bytes in the table', 'int64'),
            ('modified', 'Last Modified', 'When data or schema last changed, UTC', 'string'),
            ('partitioning_type', 'Partitioned By', 'The partitioning column', 'string'),
            ('clustering_fields', 'Clustered By', 'The clustering columns', 'string'),
        ] %}
            '{{ label }}' as stats__{{ name }}__label,
            cast(json_value(item, '$.{{ name }}') as {{ type }}) as stats__{{ name }}__value,
            '{{ description }}' as stats__{{ name }}__description,
            json_value(item, '$.{{ name }}') is not null as stats__{{ name }}__include,
        {%- endfor %}
        from unnest(
            json_query_array({{ "'" ~ (tojson(columns) | replace('\\', '\\\\') | replace("'", "\\'")) ~ "'" }})
        ) as item
    {%- endset -%}
    {{ return(run_query(query)) }}
{%- endmacro %}


{#- One dictionary per column of a google.cloud.bigquery Table; those inside records by their
    path. -#}
{% macro catalog_of_table(table) -%}
    {%- set is_table = table.table_type == 'TABLE' -%}
    {%- set partitioning = table.time_partitioning -%}
    {%- set shared = {
        'table_database': table.project,
        'table_schema': table.dataset_id,
        'table_name': table.table_id,
        'table_type': table.table_type | lower | replace('_', ' '),
        'table_comment': table.description,
        'num_rows': table.num_rows if is_table else none,
        'num_bytes': table.num_bytes or none if is_table else none,
        'modified': table.modified.strftime('%Y-%m-%d %H:%M:%S') if table.modified else none,
        'partitioning_type': (partitioning.field or '_PARTITIONTIME') ~ ' (' ~ partitioning.type_ ~ ')'
            if partitioning else none,
        'clustering_fields': table.clustering_fields | join(', ')
            if table.clustering_fields else none,
    } -%}
    {#- The API answers with the names of legacy SQL. -#}
    {%- set standard_names = {
        'INTEGER': 'INT64', 'FLOAT': 'FLOAT64', 'BOOLEAN': 'BOOL', 'RECORD': 'STRUCT',
    } -%}
    {%- set found = [] -%}
    {%- for path, field in catalog_fields(table.schema, '') -%}
        {%- set type = standard_names.get(field.field_type, field.field_type) -%}
        {%- set column = {
            'column_name': path,
            'column_index': loop.index,
            'column_type': 'ARRAY<' ~ type ~ '>' if field.mode == 'REPEATED' else type,
            'column_comment': field.description or '',
        } -%}
        {%- do column.update(shared) -%}
        {%- do found.append(column) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}


{% macro catalog_fields(fields, prefix) -%}
    {%- set found = [] -%}
    {%- for field in fields -%}
        {%- do found.append((prefix ~ field.name, field)) -%}
        {%- if field.fields -%}
            {%- do found.extend(catalog_fields(field.fields, prefix ~ field.name ~ '.')) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
