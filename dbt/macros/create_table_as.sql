{#- The adapter's own statement, except that a query under a contract stands without parentheses.
    BigQuery takes both; bqemulator 1.4.0 answers `create table t (columns) as (select ...)` with a
    syntax error at "AS". tests/dbt_project notices when that has healed and this file can go. -#}
{% macro bigquery__create_table_as(temporary, relation, compiled_code, language='sql') -%}
    {%- if language == 'sql' and config.get('contract').enforced -%}
        create or replace table {{ relation }}
        {{ get_assert_columns_equivalent(compiled_code) }}
        {{ get_table_columns_and_constraints() }}
        {{ partition_by(adapter.parse_partition_by(config.get('partition_by', none))) }}
        {{ cluster_by(config.get('cluster_by', none)) }}
        {{ bigquery_table_options(config, model, temporary) }}
        as
        {{ get_select_subquery(compiled_code) }}
    {%- else -%}
        {{ dbt.bigquery__create_table_as(temporary, relation, compiled_code, language) }}
    {%- endif -%}
{%- endmacro %}
