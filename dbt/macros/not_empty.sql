{#- After a mart is made: an error, with both counts, when it is empty while staging below it has
    live rows. A mart that may be empty, of rare items or of differences, says `may_be_empty: true`
    in its meta. How many rows a table has is metadata, which costs nothing; staging is asked only
    when the mart has none. -#}
{% macro not_empty() -%}
    {%- if execute and not model.config.meta.get('may_be_empty', false) -%}
        {%- if adapter.get_bq_table(this).num_rows == 0 -%}
            {%- for staged in staging_below(model.unique_id, []) -%}
                {%- set live = 'not is_deleted' if 'is_deleted' in staged.columns else 'true' -%}
                {%- set query = 'select countif(' ~ live ~ ') as live_row_count from '
                    ~ staged.relation_name -%}
                {%- set row = run_query(query).rows[0] -%}
                {%- if row['live_row_count'] > 0 -%}
                    {{ exceptions.raise_compiler_error(
                        model.name ~ ' has 0 rows, and ' ~ staged.name ~ ' has '
                        ~ row['live_row_count'] ~ ' live ones: every row was lost on the way. See '
                        ~ 'the models between them, or let it say may_be_empty in its meta.'
                    ) }}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}


{#- The staging models that a model is made of, directly or not; `found` grows. -#}
{% macro staging_below(unique_id, found) -%}
    {%- for parent in graph.nodes[unique_id].depends_on.nodes -%}
        {%- set node = graph.nodes.get(parent) -%}
        {%- if node and node.resource_type in ('model', 'snapshot') and node not in found -%}
            {%- if node.config.schema == 'staging' -%}
                {%- do found.append(node) -%}
            {%- else -%}
                {%- do staging_below(parent, found) -%}
            {%- endif -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}
